// The same types seen through require().
import atoll = require('atoll-ipc');

async function main(): Promise<void> {
  const client: atoll.Client = await atoll.connect();
  const consumer: atoll.Consumer = await client.openConsumer('a');
  const message: atoll.Message = await consumer.receive({ timeoutMs: 10 });
  const data: Buffer = message.data;
  console.log(data, atoll.version);
  await client.close();
}

void main();
