// What Toss's script brings to a page, played: `TossPayments(clientKey).payment({ customerKey }).requestPayment(…)` opens a window over
// the page, in which the payer pays, is refused, or closes it. The first two lead the page away, the last is an error.
(() => {
  const base = new URL(document.currentScript.src).origin;

  const requestPayment = (customerKey, { method, amount, orderId, orderName, successUrl, failUrl }) =>
    new Promise((_, reject) => {
      const wrong = (code, message) => reject(Object.assign(new Error(message), { code }));
      if (method !== 'CARD') return wrong('INVALID_METHOD', 'only CARD is played');
      if (amount?.currency !== 'KRW' || !Number.isInteger(amount.value)) return wrong('INVALID_AMOUNT', 'an amount of whole KRW');
      if (!orderId || !orderName || !successUrl || !failUrl) return wrong('INVALID_PARAMETER', 'something is left out');
      const query = new URLSearchParams({ orderId, orderName, customerKey, amount: amount.value, successUrl, failUrl });
      const frame = document.createElement('iframe');
      frame.title = 'Toss Payments, played';
      frame.src = `${base}/toss/window?${query}`;
      frame.style.cssText = 'position:fixed;inset:0;z-index:99;width:100%;height:100%;border:0;background:#fff';
      const closed = (event) => {
        if (event.origin !== base || event.source !== frame.contentWindow || event.data !== 'closed') return;
        removeEventListener('message', closed);
        frame.remove();
        wrong('USER_CANCEL', 'the payer closed the window');
      };
      addEventListener('message', closed);
      document.body.append(frame);
    });

  globalThis.TossPayments = (clientKey) => {
    if (!clientKey) throw Object.assign(new Error('a client key'), { code: 'INVALID_CLIENT_KEY' });
    return { payment: ({ customerKey }) => ({ requestPayment: (what) => requestPayment(customerKey, what) }) };
  };
})();
