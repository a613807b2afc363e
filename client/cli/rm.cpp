// atoll rm: removes segments, or a group of a stream.
#include <memory>
#include <optional>
#include <vector>

#include "broker.hpp"
#include "exit_status.hpp"
#include "report.hpp"

namespace atoll_ipc::cli {
namespace {

struct RmOptions {
  std::vector<std::string> names;
  std::optional<std::string> group;
  bool force = false;
};

Result<void> remove(Client& client, const std::string& name, const RmOptions& options) {
  Json parameters = {{"name", name}, {"force", options.force}};
  if (options.group) parameters["group"] = *options.group;  // an empty one too: it must not remove the stream
  const auto reply = call(client, "Remove", parameters);
  if (reply) return {};
  const Error& error = reply.error();
  if (error.code() != Errc::in_use || options.force) return tl::unexpected(error);
  return fail(Errc::in_use, std::string(error.message()), std::string(error.segment()), error.detail(),
              "let them finish (`atoll show " + name + "` tells who), or remove it all the same with --force");
}

Result<int> run_rm(const Context& context, const RmOptions& options) {
  const TimeLimit limit(context);
  auto client = connect(context, limit);
  if (!client) return tl::unexpected(client.error());
  int status = kOk;
  Json removed = Json::array();
  for (const std::string& name : options.names) {
    const auto result = remove(*client, name, options);
    if (result) {
      removed.push_back(name);
    } else {  // the others are tried all the same
      report(result.error(), context.json);
      if (status == kOk) status = exit_status(result.error().code());
    }
  }
  if (context.json) {
    Json object = {{"removed", removed}};
    if (options.group) object["group"] = *options.group;
    output().write_json(object);
  }
  return status;
}

}  // namespace

void add_rm(CLI::App& app, Context& context) {
  auto options = std::make_shared<RmOptions>();
  CLI::App& command = add_command(app, context, "rm",
                                  "Remove segments, or one group of a stream. What is in use is removed only with --force; those who use it keep "
                                  "their memory and are told: consumers at once, a producer when it next needs room, which may be some records later.",
                                  "atoll rm prices\n"
                                  "atoll rm prices --group g1\n"
                                  "atoll rm prices note --force\n");
  command.add_option("NAME", options->names, "of the segment; several are possible")->required()->type_name("")->expected(1, 100000);
  command.add_option("--group,-g", options->group, "remove this group of the stream instead")->type_name("GROUP");
  command.add_flag("--force", options->force, "also if somebody uses it");
  command.callback([&context, options] { context.run = [&context, options] { return run_rm(context, *options); }; });
}

}  // namespace atoll_ipc::cli
