'use strict';
// Builds the native addon (and the broker beside it) with CMake and Ninja. Run by `npm install`; by hand:
//   node scripts/build.js [--build-dir DIR] [-DNAME=VALUE ...]
// Ends with status 0, or says which step failed and what to do.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const packageDirectory = path.resolve(__dirname, '..');
const treeDirectory = path.resolve(packageDirectory, '..', '..');

function fail(what, fix) {
  console.error(`atoll-ipc: ${what}\natoll-ipc: fix: ${fix}`);
  process.exit(1);
}

function has(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

function run(step, command, args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', cwd: packageDirectory });
  if (status !== 0) {
    fail(`${step} failed (${error ? error.message : `status ${status}`}): ${command} ${args.join(' ')}`,
      `install what the lines above miss; on Debian: ${path.join(treeDirectory, 'script', 'setup')} does`);
  }
}

let buildDirectory = path.join(packageDirectory, 'build');
const definitions = [];
for (let args = process.argv.slice(2), i = 0; i < args.length; i++) {
  if (args[i] === '--build-dir' && args[i + 1]) buildDirectory = path.resolve(args[++i]);
  else if (args[i].startsWith('-D')) definitions.push(args[i]);
  else fail(`unknown argument ${args[i]}`, 'node scripts/build.js [--build-dir DIR] [-DNAME=VALUE ...]');
}

if (process.platform !== 'linux') fail(`Atoll runs on Linux, not on ${process.platform}`, 'use a Linux machine');
if (!fs.existsSync(path.join(treeDirectory, 'client', 'include', 'atoll', 'atoll.h'))) {
  fail(`the sources of Atoll are not at ${treeDirectory}`,
    'install from a clone of Atoll: npm install PATH-OF-THE-CLONE/bindings/node');
}
if (!has('cmake')) fail('cmake is missing', 'apt-get install cmake');

// npm links a package that lies outside the project and leaves its dependencies out: then they are installed here.
function headers() {
  return [require('node-api-headers').include_dir, require('node-addon-api').include_dir];
}
let includes;
try {
  includes = headers();
} catch {
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm'];
  run('installing the Node-API headers', npm[0],
    [...npm.slice(1), '--prefix', packageDirectory, 'ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund']);
  includes = headers();
}

const configure = ['-S', packageDirectory, '-B', buildDirectory, '-DCMAKE_BUILD_TYPE=Release', '-DATOLL_WERROR=OFF',
  `-DNODE_API_INCLUDE=${includes.map((directory) => path.resolve(directory)).join(';')}`, ...definitions];
// An existing build directory keeps its generator.
if (!fs.existsSync(path.join(buildDirectory, 'CMakeCache.txt')) && has('ninja')) configure.push('-G', 'Ninja');
if (has('ccache')) configure.push('-DCMAKE_CXX_COMPILER_LAUNCHER=ccache');

const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL || String(Math.max(1, os.cpus().length));
run('configuring', 'cmake', configure);
run('building', 'cmake', ['--build', buildDirectory, '--parallel', jobs]);
