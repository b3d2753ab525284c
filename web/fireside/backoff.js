/**
 * How long to wait before trying again: exponential with full jitter, so that clients that lost
 * the same server do not come back in step.
 *
 * @module
 */

/**
 * @param {number} attempt 0 for the first retry
 * @param {() => number} random
 * @param {{ baseMs?: number, capMs?: number }} [bounds]
 * @returns {number} ms
 */
export function backoff(attempt, random, { baseMs = 500, capMs = 30_000 } = {}) {
  const ceiling = Math.min(capMs, baseMs * 2 ** Math.min(attempt, 20));
  return Math.round(random() * ceiling);
}

/** @type {import('./types.js').Clock} */
export const systemClock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer),
  random: () => Math.random(),
};

/** The longest delay that setTimeout takes. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * One timer that can be set anew.
 */
export class Timer {
  /**
   * @param {import('./types.js').Clock} clock
   * @param {() => void} run
   */
  constructor(clock, run) {
    this.clock = clock;
    this.run = run;
    /** @type {unknown} */
    this.handle = undefined;
  }

  /** @param {number} ms */
  set(ms) {
    this.clear();
    this.handle = this.clock.setTimeout(() => {
      this.handle = undefined;
      this.run();
    }, Math.max(0, Math.min(ms, MAX_TIMER_MS)));
  }

  /** Whether it is running. */
  get pending() {
    return this.handle !== undefined;
  }

  clear() {
    if (this.handle !== undefined) this.clock.clearTimeout(this.handle);
    this.handle = undefined;
  }
}
