// The package's entry for import: the same objects as require() gives.
import atoll from './index.js';

export const { connect, Client, Producer, Consumer, Observer, Message, Batch, Bytes, AtollError, version } = atoll;
export default atoll;
