/**
 * Requests to the servers' REST interfaces, and problems they answer with.
 *
 * @module
 */

const TIMEOUT_MS = 15_000;

/** A request that failed. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 when there was no answer
   * @param {{ code?: string, detail?: string, title?: string, retry?: boolean, retry_after_ms?: number, errors?: { field: string, rule?: string, message: string }[] }} problem
   */
  constructor(status, problem) {
    const fields = (problem.errors ?? []).map((error) => sentence(`${error.field}: ${error.message}`));
    super(fields.join(' ') || sentence(problem.detail || problem.title || 'the request failed'));
    this.status = status;
    this.code = problem.code ?? (status === 0 ? 'unavailable' : 'internal');
    this.retry = problem.retry ?? status === 0;
    this.retryAfterMs = problem.retry_after_ms;
    /** The stable word for the first rule that was broken. */
    this.rule = problem.errors?.[0]?.rule;
  }
}

/**
 * What the server says, as a person reads it on a page.
 * @param {string} text
 */
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/u.test(text) ? '' : '.');
}

/**
 * @param {'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} method
 * @param {string} path
 * @param {{ body?: object, query?: Record<string, string | number | undefined>, token?: string, key?: string, pass?: string }} [options] `key`: the name of a request that is to be done once; `pass`: what the queue before a drop gave
 * @returns {Promise<any>}
 */
export async function call(method, path, { body, query, token, key, pass } = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== '') url.searchParams.set(name, String(value));
  }
  /** @type {Record<string, string>} */
  const headers = { accept: 'application/json' };
  if (body) headers['content-type'] = 'application/json';
  if (token) headers.authorization = `Bearer ${token}`;
  if (key) headers['idempotency-key'] = key;
  if (pass) headers['drop-pass'] = pass;
  let response;
  let answer;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: body ? JSON.stringify(body) : undefined,
      cache: 'no-store',
      credentials: 'omit',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    answer = await response.text();
  } catch {
    throw new ApiError(0, { detail: 'The server cannot be reached.' });
  }
  const value = parse(answer);
  if (!response.ok) throw new ApiError(response.status, value ?? {});
  return value;
}

/** @param {string} text */
function parse(text) {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
