/**
 * A real `fireside` process on a free port, with a data directory of its own.
 *
 * @module
 */

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const READY_MS = 20_000;

export class Server {
  /**
   * Starts one; `FIRESIDE_BIN` names the binary.
   * @param {(url: string) => Record<string, string>} [settings] more of them, as variables
   */
  static async start(settings = () => ({})) {
    const binary = process.env.FIRESIDE_BIN;
    if (!binary) throw new Error('FIRESIDE_BIN must name the fireside binary, e.g. ../target/debug/fireside');
    const server = new Server();
    server.binary = binary;
    server.port = await freePort();
    server.settings = settings(server.url);
    server.data = await mkdtemp(join(tmpdir(), 'fireside-e2e-'));
    await server.boot();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async boot() {
    this.output = '';
    this.process = spawn(this.binary, ['--listen', `127.0.0.1:${this.port}`, '--data-dir', this.data], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        FIRESIDE_ADMIN_LISTEN: '127.0.0.1:0',
        FIRESIDE_MAIL_URL: `file:${join(this.data, 'mails')}`,
        FIRESIDE_MAIL_FROM: 'no-reply@example.org',
        ...this.settings,
      },
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on('data', (chunk) => {
        this.output = (this.output + chunk).slice(-20_000);
      });
    }
    this.gone = new Promise((resolve) => this.process.once('exit', resolve));
    const deadline = Date.now() + READY_MS;
    for (;;) {
      try {
        const response = await fetch(this.url);
        await response.text();
        if (response.ok) return;
      } catch {
        // Not listening yet.
      }
      if (this.process.exitCode !== null || Date.now() > deadline) throw new Error(`the server did not start:\n${this.output}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** kill -9: nothing is said, nothing is saved. */
  async kill() {
    this.process.kill('SIGKILL');
    await this.gone;
  }

  async stop() {
    this.process.kill('SIGTERM');
    const late = setTimeout(() => this.process.kill('SIGKILL'), 5_000);
    await this.gone;
    clearTimeout(late);
    await rm(this.data, { recursive: true, force: true });
  }
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
