/**
 * Modal dialogs on the platform's own `<dialog>`: it holds the focus, and Escape closes it.
 *
 * @module
 */

import { h } from '../dom.js';
import { icon } from '../icons.js';
import { toastError } from './toast.js';

/** @import { Child } from '../dom.js' */

let count = 0;

/**
 * @param {string} title
 * @param {Child[]} body
 * @param {{ class?: string, onclose?: () => void }} [how]
 */
export function openDialog(title, body, how = {}) {
  count += 1;
  const id = `dialog-${count}`;
  const close = () => dialog.close();
  const dialog = h(
    'dialog',
    { class: `dialog ${how.class ?? ''}`, 'aria-labelledby': id },
    h(
      'header',
      { class: 'dialog-head' },
      h('h2', { id }, title),
      h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Close', onclick: close }, icon('x')),
    ),
    h('div', { class: 'dialog-body' }, body),
  );
  dialog.addEventListener('close', () => {
    dialog.remove();
    how.onclose?.();
  });
  dialog.addEventListener('pointerdown', (event) => {
    // The backdrop belongs to the dialog element; what is inside does not reach its edge.
    if (event.target === dialog) close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, close };
}

/** Closes whatever is open: what it is about is over. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll('dialog')) {
    dialog.close();
    // The event comes a moment later; until then a label in it could be taken for one of the page.
    dialog.remove();
  }
}

/**
 * A dialog with a form: submits once, shows what went wrong, closes when it went well. Other buttons that submit are told apart by
 * what they have for a name and a value.
 * @param {string} title
 * @param {Child[]} fields
 * @param {{ submit: string, danger?: boolean, run: (data: FormData) => Promise<unknown>, class?: string, others?: Child }} how
 */
export function openForm(title, fields, { submit, danger, run, class: style, others }) {
  const problem = h('p', { class: 'form-error', role: 'alert' });
  const button = h('button', { class: danger ? 'button danger' : 'button primary', type: 'submit' }, submit);
  const form = h(
    'form',
    { class: 'form', method: 'dialog' },
    fields,
    problem,
    h(
      'div',
      { class: 'form-actions' },
      h('button', { class: 'button', type: 'button', onclick: () => close() }, 'Cancel'),
      button,
    ),
    others,
  );
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const data = new FormData(form, event.submitter);
    problem.textContent = '';
    /** @type {NodeListOf<HTMLButtonElement>} */
    const buttons = form.querySelectorAll('button[type=submit]');
    for (const one of buttons) one.disabled = true;
    try {
      await run(data);
      close();
    } catch (error) {
      problem.textContent = error instanceof Error ? error.message : String(error);
    } finally {
      for (const one of buttons) one.disabled = false;
    }
  });
  const { dialog, close } = openDialog(title, [form], { class: style });
  return { dialog, form, close };
}

/**
 * @param {string} title
 * @param {string} text
 * @param {string} action
 * @param {() => Promise<unknown>} run
 */
export function confirmAction(title, text, action, run) {
  openForm(title, [h('p', null, text)], {
    submit: action,
    danger: true,
    run: () => run().catch((error) => (toastError(error), Promise.reject(error))),
  });
}

let fieldCount = 0;

/**
 * A labelled input.
 * @param {string} label
 * @param {import('../dom.js').Props} props
 * @param {string} [hint]
 */
export function field(label, props, hint) {
  fieldCount += 1;
  const id = `field-${fieldCount}`;
  return h(
    'div',
    { class: 'field' },
    h('label', { for: id }, label),
    h('input', { id, autocomplete: 'off', 'aria-describedby': hint ? `${id}-hint` : undefined, ...props }),
    hint ? h('p', { class: 'hint', id: `${id}-hint` }, hint) : null,
  );
}
