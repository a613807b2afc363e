// atoll gc: what is left over and nobody needs; with --apply it is removed.
#include <unistd.h>

#include <memory>

#include "broker.hpp"
#include "exit_status.hpp"
#include "fields.hpp"
#include "report.hpp"
#include "stored.hpp"
#include "table.hpp"

namespace atoll_ipc::cli {
namespace {

struct GcOptions {
  bool apply = false;
  bool bytes = false;
};

Result<int> run_gc(const Context& context, const GcOptions& options) {
  const TimeLimit limit(context);
  std::optional<Client> client;
  if (options.apply) {
    auto connected = connect(context, limit);
    if (!connected) return tl::unexpected(connected.error());
    client.emplace(std::move(*connected));
  } else {
    auto connected = connect_to_look(context, limit);
    if (!connected) return tl::unexpected(connected.error());
    client = std::move(*connected);
    if (!client && !context.json)
      note("no broker is running, and only a broker can tell what is left over; `atoll gc --apply` starts one");
  }
  Json reply = {{"findings", Json::array()}, {"bytes", 0}};
  if (client) {
    auto answered = call(*client, "Gc", {{"apply", options.apply}});
    if (!answered) return tl::unexpected(answered.error());
    reply = std::move(*answered);
  }
  const Json findings = array_of(reply, "findings");
  std::uint64_t to_remove = 0;
  std::uint64_t bytes = 0;
  Table table({{"ACTION"}, {"NAME", false, true}, {"BYTES", true}, {"REASON", false, true}, {"PROOF", false, true}});
  for (const Json& finding : findings) {
    const std::uint64_t its_bytes = number_of(finding, "bytes");
    if (text_of(finding, "action") == "remove") {
      ++to_remove;
      bytes += its_bytes;
    }
    table.add({text_of(finding, "action"), text_of(finding, "name"), options.bytes ? std::to_string(its_bytes) : size_for_people(its_bytes),
               text_of(finding, "reason"), text_of(finding, "proof")});
  }
  if (context.json) {
    output().write_json({{"applied", options.apply}, {"looked", client.has_value()}, {"findings", findings}, {"bytes", reply.value("bytes", Json())}});
  } else {
    if (!findings.empty()) table.print(output());
    if (to_remove > 0)
      output().write(std::string(options.apply ? "removed " : "would remove ") + std::to_string(to_remove) + ", " + size_for_people(bytes) +
                     (options.apply ? "\n" : "; `atoll gc --apply` does it\n"));
    else if (client)
      output().write("nothing to clean up\n");
  }
  return to_remove > 0 && !options.apply ? kFailed : kOk;
}

}  // namespace

void add_gc(CLI::App& app, Context& context) {
  auto options = std::make_shared<GcOptions>();
  CLI::App& command = add_command(app, context, "gc",
                                  "Tell what is left over and nobody needs, or remove it. Without --apply it only looks and starts no broker. Exit "
                                  "status 0: nothing to clean up, or all of it was removed; 1: there is something to clean up.",
                                  "atoll gc\n"
                                  "atoll gc --apply\n"
                                  "atoll gc --json | jq '.findings[] | select(.action == \"remove\")'\n");
  command.add_flag("--apply", options->apply, "remove what was found");
  command.add_flag("--bytes", options->bytes, "sizes in bytes, not for people");
  command.callback([&context, options] { context.run = [&context, options] { return run_gc(context, *options); }; });
}

}  // namespace atoll_ipc::cli
