// What a foreign page tries with the cookies of its visitor; returns what it could read.
async ([server, thread]) => {
  const read = [];
  const json = '{"message": "forged", "title": "forged", "name": "forged", "days": 1, "email": "forged@example.com"}';
  const tell = (way, text) => { if (text) read.push([way, text.slice(0, 80)]); };
  const call = async (path, init = {}) => {
    const way = `${init.method ?? "GET"} ${path} ${JSON.stringify(init.headers ?? {})} ${init.mode ?? ""}`;
    try { const answer = await fetch(server + path, { credentials: "include", ...init }); tell(way, await answer.text()); } catch {}
  };
  const types = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json", "application/octet-stream", ""];
  for (const type of types) {
    await call(`/chat/streaming-response/${thread}/`, { method: "POST", mode: "no-cors", body: new Blob([json], { type }) });
  }
  await call("/chat/threads/new/", { method: "POST" });
  await call("/chat/threads/new/", { method: "POST", mode: "no-cors", body: json });
  await call("/auth/logout/", { method: "POST", mode: "no-cors" });
  await call("/auth/delete/", { method: "DELETE" });
  await call("/auth/delete/", { method: "POST", mode: "no-cors", headers: { "X-HTTP-Method-Override": "DELETE" } });
  await call("/auth/delete/?_method=DELETE", { method: "POST", mode: "no-cors" });
  await call(`/chat/threads/${thread}/delete/`, { method: "DELETE" });
  await call(`/chat/threads/${thread}/`, { method: "PATCH", body: json, headers: { "Content-Type": "application/json" } });
  await call("/auth/tokens/", { method: "POST", mode: "no-cors", body: json });
  await call("/auth/sessions/", { method: "DELETE" });
  await call("/auth/email/change/", { method: "POST", mode: "no-cors", body: json });
  await call(`/chat/threads/${thread}/stop/`, { method: "POST", mode: "no-cors", keepalive: true });
  await call("/chat/import/", { method: "POST", mode: "no-cors", body: new Blob([json], { type: "text/plain" }) });
  await call("/v1/chat/completions", { method: "POST", mode: "no-cors", body: json });
  for (const path of ["/auth/status/", "/chat/threads/", `/chat/threads/${thread}/messages/`, "/auth/tokens/", "/auth/export/", "/"]) {
    await call(path);
    await call(path, { mode: "no-cors" });
  }
  navigator.sendBeacon(`${server}/chat/streaming-response/${thread}/`, json);
  navigator.sendBeacon(`${server}/auth/logout/`);

  await new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${server}/auth/logout/`);
    request.withCredentials = true;
    request.onloadend = () => { tell("XMLHttpRequest", request.responseText); done(); };
    request.send();
  });
  await new Promise((done) => {
    const source = new EventSource(`${server}/chat/streaming-response/${thread}/`, { withCredentials: true });
    source.onopen = () => tell("EventSource", "opened");
    source.onerror = () => { source.close(); done(); };
  });
  await new Promise((done) => {
    const socket = new WebSocket(`${server.replace("http", "ws")}/chat/`);
    socket.onopen = () => tell("WebSocket", "opened");
    socket.onclose = done;
  });
  await import(`${server}/chat/threads/`).then(() => tell("import()", "imported"), () => {});
  const element = (tag, properties) => new Promise((done) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.onload = made.onerror = () => done(made);
    document.body.append(made);
    setTimeout(() => done(made), 3000);
  });
  await element("script", { src: `${server}/chat/threads/` });
  await element("img", { src: `${server}/auth/logout/` });
  await element("link", { rel: "stylesheet", href: `${server}/chat/threads/` });
  const frame = await element("iframe", { src: `${server}/#/thread/${thread}`, name: "frame" });
  try { tell("iframe", frame.contentWindow.document.body.textContent); } catch {}
  for (const [enctype, path] of [["text/plain", `/chat/streaming-response/${thread}/`], ["multipart/form-data", "/auth/logout/"],
    ["application/x-www-form-urlencoded", "/auth/tokens/"]]) {
    const form = Object.assign(document.createElement("form"), { method: "post", action: server + path, enctype, target: "frame" });
    form.append(Object.assign(document.createElement("input"), { name: '{"message": "forged", "a": "', value: '"}' }));
    document.body.append(form);
    const loaded = new Promise((done) => { frame.onload = done; setTimeout(done, 3000); });
    form.submit();
    await loaded;
  }
  return read;
}
