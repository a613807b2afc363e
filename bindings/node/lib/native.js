'use strict';
// Finds and loads the addon that scripts/build.js makes. ATOLL_NODE_ADDON names another one (sanitizer
// builds, build directories outside the package).

const fs = require('node:fs');
const path = require('node:path');

const addon = process.env.ATOLL_NODE_ADDON || path.join(__dirname, '..', 'build', 'atoll.node');

let native;
try {
  native = require(addon);
} catch (error) {
  throw new Error(`atoll-ipc: the native addon ${addon} cannot be loaded: ${error.message}\n` +
    `fix: build it with \`node ${path.join(__dirname, '..', 'scripts', 'build.js')}\``, { cause: error });
}

// The broker that was built beside the addon, for connect() to start; undefined if there is none.
const beside = path.join(path.dirname(addon), 'atolld');
native.atolld = fs.existsSync(beside) ? beside : undefined;

module.exports = native;
