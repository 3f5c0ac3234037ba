// The proxy's routes, kept in a file as well (HUBFLEET_PROXY_ROUTES). A proxy that is started again has them at once;
// until the hub had brought them it would answer "not found", which open pages take for the end of their files. What has
// changed meanwhile the hub puts right: it looks at every proxy that is new to it. Who was active when is not kept.
const fs = require("node:fs");
const path = require("node:path");

const program = path.dirname(fs.realpathSync(process.argv[1]));
const { MemoryStore } = require(path.join(program, "..", "lib", "store.js"));

const file = process.env.HUBFLEET_PROXY_ROUTES;
const WRITE_AFTER_MS = 20; // a class that starts changes many at once

module.exports = class KeptStore extends MemoryStore {
  constructor(options) {
    super(options);
    this.writing = null;
    for (const [route, data] of Object.entries(kept())) {
      super.add(route, { ...data, last_activity: new Date() });
    }
  }

  add(route, data) {
    this.keep();
    return super.add(route, data);
  }

  remove(route) {
    this.keep();
    return super.remove(route);
  }

  keep() {
    this.writing ??= setTimeout(() => {
      this.writing = null;
      try {
        fs.writeFileSync(`${file}.new`, JSON.stringify(this.routes), { mode: 0o600 });
        fs.renameSync(`${file}.new`, file);
      } catch (error) {
        console.error(`The routes were not kept, and a restart will be noticed: ${error.message}`);
      }
    }, WRITE_AFTER_MS);
  }
};

function kept() {
  try {
    const found = JSON.parse(fs.readFileSync(file, "utf8"));
    return found && typeof found === "object" ? found : {};
  } catch {
    return {}; // there is none yet, or it is no good: the hub brings them
  }
}
