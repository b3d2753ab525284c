/**
 * Notices when nobody has touched the page for a while.
 *
 * @module
 */

const IDLE_MS = 5 * 60_000;

/**
 * @param {(idle: boolean) => void} tell
 * @returns {() => void} stops watching
 */
export function watchIdle(tell) {
  let timer = setTimeout(() => tell(true), IDLE_MS);
  const touched = () => {
    clearTimeout(timer);
    tell(false);
    timer = setTimeout(() => tell(true), IDLE_MS);
  };
  const signs = ['pointerdown', 'keydown', 'wheel', 'focus'];
  for (const sign of signs) addEventListener(sign, touched, { passive: true, capture: true });
  return () => {
    clearTimeout(timer);
    for (const sign of signs) removeEventListener(sign, touched, { capture: true });
  };
}
