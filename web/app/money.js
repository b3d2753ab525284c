/**
 * Money in words. An amount is whole minor units of a currency, as the server counts: nothing here
 * computes with fractions.
 *
 * @module
 */

/** @typedef {{ minor: number, currency: string, exponent: number }} Money */

/** @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();

/** @param {Money} amount */
export function money({ minor, currency, exponent }) {
  let format = formats.get(currency);
  if (!format) {
    format = new Intl.NumberFormat('en', { style: 'currency', currency, minimumFractionDigits: exponent, maximumFractionDigits: exponent });
    formats.set(currency, format);
  }
  return format.format(minor / 10 ** exponent);
}

/**
 * A price: what costs nothing is free.
 * @param {Money} amount
 */
export function price(amount) {
  return amount.minor === 0 ? 'Free' : money(amount);
}

/**
 * What came or went, with its sign.
 * @param {Money} amount
 */
export function signed(amount) {
  return amount.minor > 0 ? `+${money(amount)}` : money(amount);
}

/**
 * How many hundredths less it costs, never said to be more than it is.
 * @param {Money} now
 * @param {Money | null | undefined} full
 */
export function percentOff(now, full) {
  if (!full || full.minor <= 0 || now.minor >= full.minor) return 0;
  return Math.floor(((full.minor - now.minor) * 100) / full.minor);
}

/**
 * All together; nothing is free in `like`'s currency.
 * @param {Money[]} amounts of one currency
 * @param {Money} like
 * @returns {Money}
 */
export function total(amounts, like) {
  return { ...like, minor: amounts.reduce((sum, amount) => sum + amount.minor, 0) };
}

/**
 * One less the other.
 * @param {Money} from
 * @param {Money} amount
 * @returns {Money}
 */
export function minus(from, amount) {
  return { ...from, minor: from.minor - amount.minor };
}
