/** Time that stands still until it is told to pass, and chance that always answers a half. */
export class TestClock {
  constructor() {
    this.time = 1_795_000_000_000;
    this.timers = new Map();
    this.lastTimer = 0;
  }

  now = () => this.time;

  random = () => 0.5;

  setTimeout = (run, ms) => {
    this.lastTimer += 1;
    this.timers.set(this.lastTimer, { at: this.time + ms, run });
    return this.lastTimer;
  };

  clearTimeout = (timer) => void this.timers.delete(timer);

  /** Lets `ms` pass, running what falls due in order, and what promises make of it. */
  async pass(ms) {
    const end = this.time + ms;
    for (;;) {
      await settle();
      const due = [...this.timers].filter(([, t]) => t.at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].run();
    }
    this.time = end;
    await settle();
  }
}

/** Lets every promise that can settle do so. */
export async function settle() {
  for (let i = 0; i < 30; i += 1) await Promise.resolve();
}
