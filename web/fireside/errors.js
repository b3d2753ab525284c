/**
 * Errors a client meets, and what a close code asks of it.
 *
 * @module
 */

/** @import { ErrorBody } from './types.js' */

/**
 * Codes that the server never sends: the client's own.
 *
 * - `timeout`: no answer in time; the command may or may not have been carried out.
 * - `connection_lost`: the socket went away before the answer; likewise.
 * - `stopped`: the client is stopped and the command was not sent.
 * - `queue_full`: too many messages wait to be sent.
 * @typedef {'timeout' | 'connection_lost' | 'stopped' | 'queue_full'} LocalCode
 */

/** A command that was refused, or that got no answer. */
export class RequestError extends Error {
  /** @param {ErrorBody} body */
  constructor(body) {
    super(body.message || body.code);
    this.name = 'RequestError';
    /** The stable code. */
    this.code = body.code;
    /** Whether the same command may succeed later, unchanged. */
    this.retry = body.retry;
    /** When trying again may help, in ms. */
    this.retryAfterMs = body.retry_after_ms;
  }
}

/**
 * @param {LocalCode} code
 * @param {string} message
 */
export function localError(code, message) {
  return new RequestError({ code, message, retry: code !== 'stopped' });
}

/**
 * Whether an error says that the command's fate is unknown: only then may an idempotent command
 * be repeated although it was not refused.
 * @param {unknown} error
 */
export function isUnanswered(error) {
  return error instanceof RequestError && (error.code === 'timeout' || error.code === 'connection_lost');
}

/**
 * What to do after a close, by the range of its code.
 * @typedef {'resume' | 'renew' | 'wait' | 'stop'} AfterClose
 */

/**
 * Every close code of the contract, with its word.
 * @type {Readonly<Record<number, string>>}
 */
export const CLOSE_WORDS = {
  4000: 'internal',
  4001: 'draining',
  4002: 'heartbeat_lost',
  4008: 'too_slow',
  4009: 'rebalance',
  4100: 'token_expired',
  4101: 'session_lost',
  4200: 'overloaded',
  4201: 'flooding',
  4400: 'undecodable',
  4401: 'revoked',
  4403: 'banned',
  4406: 'replaced',
  4426: 'upgrade_needed',
};

/**
 * @param {number} code
 * @returns {AfterClose}
 */
export function afterClose(code) {
  if (code >= 4100 && code < 4200) return 'renew';
  if (code >= 4200 && code < 4300) return 'wait';
  if (code >= 4400 && code < 4500) return 'stop';
  // Everything else, also a network that just went away (1006), leaves the session whole.
  return 'resume';
}
