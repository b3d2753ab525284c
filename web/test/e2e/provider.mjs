/**
 * A payment provider: the program `pay-simulator`, which stands beside `fireside`.
 *
 * @module
 */

import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';

export class Provider {
  static async start() {
    const provider = new Provider();
    const program = join(dirname(process.env.FIRESIDE_BIN), 'pay-simulator');
    provider.process = spawn(program, ['--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    provider.url = await new Promise((resolve, reject) => {
      provider.process.once('error', reject);
      provider.process.once('exit', () => reject(new Error('the provider did not start')));
      provider.process.stdout.once('data', (line) => resolve(String(line).trim().replace('serving ', '')));
    });
    return provider;
  }

  /** What a store is set to that takes payments by it. */
  settings(url) {
    return {
      FIRESIDE_STORE_COUNTRY: 'KR',
      FIRESIDE_PAYMENT_PUBLIC_URL: url,
      FIRESIDE_KAKAO_PAY_URL: this.url,
      FIRESIDE_KAKAO_PAY_CID: 'TC0ONETIME',
      FIRESIDE_KAKAO_PAY_SECRET: 'kakao-secret',
      FIRESIDE_TOSS_URL: this.url,
      FIRESIDE_TOSS_SDK_URL: `${this.url}/v2/standard`,
      FIRESIDE_TOSS_CLIENT_KEY: 'client',
      FIRESIDE_TOSS_SECRET_KEY: 'toss-secret',
    };
  }

  /** What it took, and paid back. */
  async books() {
    const { payments } = await (await fetch(`${this.url}/books`)).json();
    const sum = (name) => payments.reduce((all, payment) => all + payment[name], 0);
    return [sum('taken'), sum('cancelled')];
  }

  stop() {
    this.process.kill('SIGKILL');
  }
}
