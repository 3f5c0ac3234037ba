// Loaded into the proxy before it starts. On Unix sockets it would ask for a new connection with each request, and the
// server closes that as soon as it has answered. When the answer is faster than the last (empty) write of a request
// with a body, the write fails, and a good answer becomes a 503. Connections that are kept do not have this race; on
// TCP the proxy keeps them anyway.
const http = require("node:http");

const kept = new http.Agent({ keepAlive: true });
const request = http.request;

http.request = function (options, ...rest) {
  const plain = options && options.socketPath && options.agent === false && options.headers?.connection === "close";
  return request.call(
    this,
    plain ? { ...options, agent: kept, headers: { ...options.headers, connection: "keep-alive" } } : options,
    ...rest,
  );
};
require("node:module").syncBuiltinESMExports();
