/** Ids that were met before, the latest of them: what is told at least once is shown once. */
export class Seen {
  /** @param {number} [most] how many ids are remembered */
  constructor(most = 500) {
    this.most = most;
    /** @type {Set<string>} in the order they were met */
    this.ids = new Set();
  }

  /**
   * Whether this one is met for the first time.
   * @param {string} id
   */
  first(id) {
    if (this.ids.has(id)) return false;
    this.ids.add(id);
    if (this.ids.size > this.most) {
      const [oldest] = this.ids;
      this.ids.delete(oldest);
    }
    return true;
  }
}
