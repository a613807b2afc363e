// atoll show, atoll manifest: all that is known of one segment.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <map>
#include <memory>

#include "broker.hpp"
#include "exit_status.hpp"
#include "fields.hpp"
#include "stored.hpp"
#include "table.hpp"

namespace atoll_ipc::cli {
namespace {

// The reply of Show with the manifest as an object. Without a broker: what the manifest tells.
Result<Json> look(const Context& context, const std::string& name) {
  const TimeLimit limit(context);
  auto client = connect_to_look(context, limit);
  if (!client) return tl::unexpected(client.error());
  if (!*client) {
    auto stored = stored_segment(socket_path(context.socket), name);
    if (!stored) return tl::unexpected(stored.error());
    return Json{{"segment", describe(*stored)},   {"manifest", stored->manifest},     {"lanes", Json::array()},
                {"groups", Json::array()},        {"clients", Json::array()}, {"length", nullptr},
                {"version", nullptr}};
  }
  auto reply = call(**client, "Show", {{"name", name}});
  if (!reply) return reply;
  const Json text = reply->value("manifest", Json());
  Json manifest = text.is_string() ? Json::parse(text.get<std::string>(), nullptr, false) : Json();
  if (!manifest.is_object()) return fail(Errc::bad_manifest, "the manifest of '" + name + "' is no JSON object", name);
  (*reply)["manifest"] = std::move(manifest);
  return reply;
}

// Each file of the manifest with device and inode, where it has a path that exists.
Json files_of(const Json& manifest) {
  Json files = array_of(manifest, "files");
  for (Json& file : files) {
    struct stat status {};
    const Json path = file.value("path", Json());
    const bool there = path.is_string() && ::stat(path.get<std::string>().c_str(), &status) == 0;
    file["device"] = there ? Json(std::to_string(::major(status.st_dev)) + ":" + std::to_string(::minor(status.st_dev))) : Json();
    file["inode"] = there ? Json(status.st_ino) : Json();
    file["resident"] = there ? Json(static_cast<std::uint64_t>(status.st_blocks) * 512) : Json();
  }
  return files;
}

std::string access_text(const Json& manifest) {
  std::string text = "the owner";
  for (const Json& entry : array_of(manifest, "access")) {
    text += ", " + text_of(entry, "user") + ":";
    for (const Json& right : array_of(entry, "rights")) text += right.is_string() ? right.get<std::string>().substr(0, 1) : "";
  }
  return text;
}

void print_facts(const Json& shown) {
  const Json& segment = shown["segment"];
  const Json& manifest = shown["manifest"];
  const bool stream = text_of(segment, "kind") == "stream";
  Facts facts;
  facts.add("name", text_of(segment, "name"));
  facts.add("kind", stream ? "stream, " + size_for_people(number_of(manifest, "capacity")) + " a lane, alignment " +
                                 text_of(manifest, "alignment") + ", when full: " + text_of(manifest, "when_full")
                           : "bytes, " + size_for_people(number_of(manifest, "size")) + ", a put up to " +
                                 size_for_people(number_of(manifest, "put_size")));
  if (!stream && !shown.value("version", Json()).is_null())
    facts.add("content", text_of(shown, "length") + " bytes, put " + text_of(shown, "version") + " times");
  facts.add("state", text_of(segment, "state") + ", generation " + text_of(segment, "generation"));
  facts.add("size", size_for_people(number_of(segment, "size")) + " reserved, " + size_for_people(number_of(segment, "resident")) + " resident, " +
                        text_of(manifest, "backing") + (manifest.contains("directory") ? " in " + text_of(manifest, "directory") : ""));
  facts.add("owner", text_of(segment, "owner") + " (user id " + text_of(segment, "uid") + ")");
  facts.add("access", access_text(manifest));
  facts.add("created", time_for_people(number_of(segment, "created_ns")) + ", " + age_for_people(number_of(segment, "age_ns") / 1'000'000'000) +
                           " ago");
  facts.add("uuid", text_of(segment, "uuid"));
  facts.print(output());
}

void print_files(const Json& files) {
  output().write("\n");
  Table table({{"FILE", false, true}, {"SIZE", true}, {"DEVICE"}, {"INODE", true}, {"PATH", false, true, Cut::start}});
  for (const Json& file : files) {
    std::string role = text_of(file, "role");
    if (role == "lane") role += " " + text_of(file, "lane");
    if (role == "group") role += " " + text_of(file, "group");
    table.add({role, size_for_people(number_of(file, "size")), text_of(file, "device"), text_of(file, "inode"), text_of(file, "path")});
  }
  table.print(output());
}

void print_lanes(const Json& lanes) {
  if (lanes.empty()) return;
  output().write("\n");
  Table table({{"LANE", true}, {"SEQ", true}, {"FINISHED"}, {"DROPPED", true}, {"BLOCKED", true}, {"ABORTED", true}, {"WAKE"}, {"STATE"}});
  for (const Json& lane : lanes)
    table.add({text_of(lane, "lane"), text_of(lane, "sequence"), text_of(lane, "finished"), text_of(lane, "dropped"), text_of(lane, "blocked"),
               text_of(lane, "aborted"), text_of(lane, "wake_mode"), text_of(lane, "state")});
  table.print(output());
}

void print_groups(const Json& groups) {
  if (groups.empty()) return;
  output().write("\n");
  Table table({{"GROUP", false, true}, {"MEMBERS", true}, {"OPEN", true}, {"LAG", true}, {"LOST", true}, {"REDELIVERED", true}, {"MODE"}});
  for (const Json& group : groups) {
    std::uint64_t lost = 0;
    std::uint64_t redelivered = 0;
    for (const Json& lane : array_of(group, "lanes")) {
      lost += number_of(lane, "lost");
      redelivered += number_of(lane, "redelivered");
    }
    std::string mode = is_true(group, "exclusive") ? "exclusive" : "shared";
    if (is_true(group, "ephemeral")) mode += ",ephemeral";
    table.add({text_of(group, "name"), text_of(group, "members"), text_of(group, "claims"), text_of(group, "lag"), std::to_string(lost),
               std::to_string(redelivered), mode});
  }
  table.print(output());
}

// One line for each process that is attached, and in which role.
void print_clients(const Json& shown) {
  const Json clients = array_of(shown, "clients");
  if (clients.empty()) return;
  std::map<std::string, Json> lanes;
  for (const Json& lane : array_of(shown, "lanes")) lanes[text_of(lane, "lane")] = lane;
  std::map<std::string, Json> groups;
  std::map<std::string, std::uint64_t> worst_lag;  // of any group, by lane
  for (const Json& group : array_of(shown, "groups")) {
    groups[text_of(group, "name")] = group;
    for (const Json& lane : array_of(group, "lanes"))
      worst_lag[text_of(lane, "lane")] = std::max(worst_lag[text_of(lane, "lane")], number_of(lane, "lag"));
  }
  output().write("\n");
  Table table({{"LANE", true}, {"PID", true}, {"COMMAND", false, true}, {"UID", true}, {"ROLE"}, {"GROUP", false, true}, {"SEQ", true}, {"LAG", true}, {"STATE"}});
  for (const Json& client : clients) {
    const std::string lane = text_of(client, "lane");
    const std::string group = text_of(client, "group");
    std::string role = text_of(client, "role");
    if (role == "map") role = is_true(client, "writable") ? "write" : "read";
    std::string sequence;
    std::string lag;
    if (const auto found = lanes.find(lane); found != lanes.end()) {
      sequence = text_of(found->second, "sequence");
      if (const auto behind = worst_lag.find(lane); behind != worst_lag.end()) lag = std::to_string(behind->second);
    }
    if (const auto found = groups.find(group); found != groups.end()) lag = text_of(found->second, "lag");
    table.add({lane, text_of(client, "pid"), text_of(client, "command"), text_of(client, "uid"), role, group, sequence, lag, text_of(client, "state")});
  }
  table.print(output());
}

Result<int> run_show(const Context& context, const std::string& name) {
  auto shown = look(context, name);
  if (!shown) return tl::unexpected(shown.error());
  const Json files = files_of((*shown)["manifest"]);
  if (context.json) {
    Json object = (*shown)["segment"];
    object["age"] = static_cast<double>(number_of(object, "age_ns") / 1'000'000) / 1000.0;
    for (const char* key : {"length", "version", "lanes", "groups", "clients"}) object[key] = shown->value(key, Json());
    object["files"] = files;
    object["manifest"] = (*shown)["manifest"];
    output().write_json(object);
    return kOk;
  }
  print_facts(*shown);
  print_files(files);
  print_lanes(array_of(*shown, "lanes"));
  print_groups(array_of(*shown, "groups"));
  print_clients(*shown);
  return kOk;
}

Result<int> run_manifest(const Context& context, const std::string& name) {
  auto shown = look(context, name);
  if (!shown) return tl::unexpected(shown.error());
  output().write_json((*shown)["manifest"]);
  return kOk;
}

}  // namespace

void add_show(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  CLI::App& command = add_command(app, context, "show",
                                  "Show one segment: what it is, its files, lanes, groups, and who uses it. Only looks: starts no broker. "
                                  "LAG is how many records a group has not dealt with yet, claimed ones that are not acknowledged included; for a producer, the slowest group's in its lane.",
                                  "atoll show prices\n"
                                  "atoll show prices --json | jq '.groups[] | {name, lag}'\n");
  command.alias("inspect");
  command.add_option("NAME", *name, "of the segment")->required()->type_name("");
  command.callback([&context, name] { context.run = [&context, name] { return run_show(context, *name); }; });
}

void add_manifest(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  CLI::App& command = add_command(app, context, "manifest",
                                  "Print a segment's manifest. This JSON names every file and every offset in it, which is enough to read the "
                                  "segment without this library. Only looks: starts no broker.",
                                  "atoll manifest prices\n"
                                  "atoll manifest prices | jq -r '.files[].path'\n");
  command.add_option("NAME", *name, "of the segment")->required()->type_name("");
  command.callback([&context, name] { context.run = [&context, name] { return run_manifest(context, *name); }; });
}

}  // namespace atoll_ipc::cli
