/**
 * Dark or light: what the system says, unless the person says otherwise. A classic script in the
 * head, so that the first paint is right already.
 */
(() => {
  const choice = localStorage.getItem('fireside.theme');
  if (choice === 'dark' || choice === 'light') document.documentElement.dataset.theme = choice;
})();
