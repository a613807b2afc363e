// The types for import: the same as for require().
export * from './index.js';
import * as atoll from './index.js';
export default atoll;
