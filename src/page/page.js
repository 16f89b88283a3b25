"use strict";
{
  const find = (id) => document.getElementById(id);
  const live = find("live");
  let opened, lost;

  const connect = () => {
    const source = new EventSource("events");
    source.onopen = () => {
      opened = Date.now();
      clearTimeout(lost);
      lost = undefined;
      live.className = live.textContent = "live";
    };
    source.onmessage = ({ data }) => {
      const id = data.split(" ", 1)[0], html = data.slice(id.length + 1), part = find(id);
      // Another version of Rekindle has another page.
      if (!part || (id === "page" && html !== part.dataset.page)) location.reload();
      else if (id === "icon") part.href = html;
      else if (id !== "page") part.innerHTML = html;
    };
    source.onerror = () => {
      lost ??= setTimeout(() => {
        live.className = "lost";
        live.textContent = "not connected: this may be old";
      }, 2000);
      // A stream ends each minute: then the next one begins at once. Whoever was refused waits.
      const ended = Date.now() - opened > 10000;
      opened = undefined;
      if (ended || source.readyState === EventSource.CLOSED) {
        source.close();
        setTimeout(connect, ended ? 0 : 3000);
      }
    };
  };
  connect();
}
