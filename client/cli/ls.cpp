// atoll ls: one line for each segment.
#include <algorithm>
#include <memory>
#include <vector>

#include "broker.hpp"
#include "exit_status.hpp"
#include "fields.hpp"
#include "stored.hpp"
#include "table.hpp"

namespace atoll_ipc::cli {
namespace {

struct LsOptions {
  std::string prefix;
  bool bytes = false;
};

bool by_name(const Json& a, const Json& b) { return text_of(a, "name") < text_of(b, "name"); }

// The interface's type Segment, for each segment. Without a broker: from the manifests that are there.
Result<std::vector<Json>> segments(const Context& context, const std::string& prefix) {
  const TimeLimit limit(context);
  auto client = connect_to_look(context, limit);
  if (!client) return tl::unexpected(client.error());
  std::vector<Json> found;
  if (*client) {
    auto reply = call(**client, "List", prefix.empty() ? Json::object() : Json{{"prefix", prefix}});
    if (!reply) return tl::unexpected(reply.error());
    if (const auto list = reply->find("segments"); list != reply->end() && list->is_array())
      for (Json& segment : *list) found.push_back(std::move(segment));
    if (!std::is_sorted(found.begin(), found.end(), by_name)) std::sort(found.begin(), found.end(), by_name);
    return found;
  }
  for (const StoredSegment& segment : stored_segments(socket_path(context.socket)))
    if (segment.manifest["name"].get<std::string>().starts_with(prefix)) found.push_back(describe(segment));
  return found;
}

Result<int> run_ls(const Context& context, const LsOptions& options) {
  const auto found = segments(context, options.prefix);
  if (!found) return tl::unexpected(found.error());
  if (context.json) {
    Json list = Json::array();
    for (const Json& segment : *found) {
      Json line = Json::object();
      for (const char* key : {"name", "kind", "size", "resident", "owner", "producers", "consumers", "lanes", "state"})
        line[key] = segment.value(key, Json());
      line["age"] = static_cast<double>(number_of(segment, "age_ns") / 1'000'000) / 1000.0;
      list.push_back(std::move(line));
    }
    output().write_json(list);
    return kOk;
  }
  Table table({{"NAME", false, true},
               {"KIND"},
               {"SIZE", true},
               {"RSS", true},
               {"OWNER", false, true},
               {"PROD", true},
               {"CONS", true},
               {"LANES", true},
               {"STATE"},
               {"AGE", true}});
  const auto size = [&](const Json& segment, const char* key) {
    return options.bytes ? text_of(segment, key) : size_for_people(number_of(segment, key));
  };
  for (const Json& segment : *found)
    table.add({text_of(segment, "name"), text_of(segment, "kind"), size(segment, "size"), size(segment, "resident"), text_of(segment, "owner"),
               text_of(segment, "producers"), text_of(segment, "consumers"), text_of(segment, "kind") == "stream" ? text_of(segment, "lanes") : "",
               text_of(segment, "state"), age_for_people(number_of(segment, "age_ns") / 1'000'000'000)});
  table.print(output());
  return kOk;
}

}  // namespace

void add_ls(CLI::App& app, Context& context) {
  auto options = std::make_shared<LsOptions>();
  CLI::App& command = add_command(app, context, "ls",
                                  "List the segments. Only looks: starts no broker. Without one it lists what the last broker left, in state "
                                  "offline.",
                                  "atoll ls\n"
                                  "atoll ls sensors/ --bytes\n"
                                  "atoll ls --json | jq -r '.[].name'\n");
  command.add_option("PREFIX", options->prefix, "only names that begin with this")->type_name("");
  command.add_flag("--bytes", options->bytes, "sizes in bytes, not for people");
  command.callback([&context, options] { context.run = [&context, options] { return run_ls(context, *options); }; });
}

}  // namespace atoll_ipc::cli
