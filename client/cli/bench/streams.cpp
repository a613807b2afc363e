#include "streams.hpp"

namespace atoll_ipc::cli::bench {

Result<Handles> open_handles(Client& client, const std::string& sends, const std::string& receives) {
  ConsumerOptions options;
  options.group = "bench";
  options.exclusive = true;
  auto consumer = client.open_consumer(receives, options);
  if (!consumer) return tl::unexpected(consumer.error());
  auto producer = client.open_producer(sends);
  if (!producer) return tl::unexpected(producer.error());
  return Handles{std::move(*producer), std::move(*consumer)};
}

void remove_streams(Client& client, const std::string& name) {
  for (const std::string& stream : {ping(name), pong(name)})
    for (int tries = 0; tries < 5; ++tries)  // a signal may interrupt it
      if (const auto removed = client.remove(stream, true); removed || removed.error().code() != Errc::interrupted) break;
}

}  // namespace atoll_ipc::cli::bench
