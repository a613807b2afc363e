// atoll ls: one line for each segment.
#include <algorithm>
#include <memory>
#include <vector>

#include "broker.hpp"
#include "exit_status.hpp"
#include "stored.hpp"
#include "table.hpp"

namespace atoll_ipc::cli {
namespace {

struct Options {
  std::string prefix;
  bool bytes = false;
};

// The interface's type Segment, for each segment. Without a broker: from the manifests that are there.
Result<std::vector<Json>> segments(const Context& context, const std::string& prefix) {
  const TimeLimit limit(context);
  auto client = connect_to_look(context, limit);
  if (!client) return tl::unexpected(client.error());
  std::vector<Json> found;
  if (*client) {
    auto reply = call(**client, "List", prefix.empty() ? Json::object() : Json{{"prefix", prefix}});
    if (!reply) return tl::unexpected(reply.error());
    for (Json& segment : (*reply)["segments"]) found.push_back(std::move(segment));
    std::sort(found.begin(), found.end(), [](const Json& a, const Json& b) { return a["name"] < b["name"]; });
    return found;
  }
  for (const StoredSegment& segment : stored_segments(socket_path(context.socket)))
    if (segment.manifest["name"].get<std::string>().starts_with(prefix)) found.push_back(describe(segment));
  return found;
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump(); }

Result<int> run(const Context& context, const Options& options) {
  const auto found = segments(context, options.prefix);
  if (!found) return tl::unexpected(found.error());
  if (context.json) {
    Json list = Json::array();
    for (const Json& segment : *found) {
      Json line = Json::object();
      for (const char* key : {"name", "kind", "size", "resident", "owner", "producers", "consumers", "lanes", "state"})
        line[key] = segment.value(key, Json());
      line["age"] = static_cast<double>(segment.value("age_ns", std::uint64_t{0}) / 1'000'000) / 1000.0;
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
  const auto size = [&](const Json& value) {
    const auto bytes = value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
    return options.bytes ? std::to_string(bytes) : size_for_people(bytes);
  };
  for (const Json& segment : *found)
    table.add({text_of(segment.value("name", Json())), text_of(segment.value("kind", Json())), size(segment.value("size", Json())),
               size(segment.value("resident", Json())), text_of(segment.value("owner", Json())), text_of(segment.value("producers", Json())),
               text_of(segment.value("consumers", Json())), segment.value("kind", Json()) == "bytes" ? "" : text_of(segment.value("lanes", Json())),
               text_of(segment.value("state", Json())), age_for_people(segment.value("age_ns", std::uint64_t{0}) / 1'000'000'000)});
  table.print(output());
  return kOk;
}

}  // namespace

void add_ls(CLI::App& app, Context& context) {
  auto options = std::make_shared<Options>();
  CLI::App& command = add_command(app, context, "ls",
                                  "List the segments. Only looks: starts no broker. Without one it lists what the last broker left, in state "
                                  "offline.",
                                  "atoll ls\n"
                                  "atoll ls sensors/ --bytes\n"
                                  "atoll ls --json | jq -r '.[].name'\n");
  command.add_option("PREFIX", options->prefix, "only names that begin with this")->type_name("");
  command.add_flag("--bytes", options->bytes, "sizes in bytes, not for people");
  command.callback([&context, options] { context.run = [&context, options] { return run(context, *options); }; });
}

}  // namespace atoll_ipc::cli
