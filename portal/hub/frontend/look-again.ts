// Asks for the page again in a moment, as a page without scripts does by itself.

setTimeout(() => window.location.reload(), 3000);
