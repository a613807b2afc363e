#include "methods.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include "atoll/protocol/kill_point.hpp"
#include "bell_tower.hpp"
#include "clock.hpp"
#include "interface_text.hpp"
#include "json_limits.hpp"
#include "reserve.hpp"

namespace atoll_ipc::daemon {

using nlohmann::json;

namespace {

constexpr std::string_view kInterface = "dev.atoll.Broker";
constexpr std::string_view kService = "org.varlink.service";

std::string printable(std::string_view text) {
  std::string out(text.substr(0, 100));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) c = '?';
  return out;
}

// Methods that touch no state of this connection beyond its credentials.
std::optional<json> service_method(const std::string& method, const json& parameters) {
  if (method == "org.varlink.service.GetInfo")
    return result_reply({{"vendor", "Atoll"}, {"product", "atolld"}, {"version", ATOLL_VERSION}, {"url", "https://atoll.dev"}, {"interfaces", {kService, kInterface}}});
  if (method == "org.varlink.service.GetInterfaceDescription") {
    const auto at = parameters.find("interface");
    if (at == parameters.end() || !at->is_string()) return varlink_error("InvalidParameter", "parameter", "interface");
    if (*at == kInterface) return result_reply({{"description", kInterfaceText}});
    if (*at == kService) return result_reply({{"description", kServiceText}});
    return varlink_error("InterfaceNotFound", "interface", printable(at->get<std::string>()));
  }
  return std::nullopt;
}

}  // namespace

const Methods::Row Methods::kMethods[] = {
    {"Hello", &Methods::hello},     {"Create", &Methods::create}, {"Attach", &Methods::attach},     {"Await", &Methods::await},
    {"Refresh", &Methods::refresh}, {"Detach", &Methods::detach}, {"Remove", &Methods::remove},     {"List", &Methods::list},
    {"Show", &Methods::show},       {"Manifest", &Methods::manifest}, {"Gc", &Methods::gc},         {"Status", &Methods::status},
    {"Stop", &Methods::stop},
};

void Methods::handle(Connection& connection, std::string_view frame) {
  if (connection.refused) {
    connection.send(error_reply(*connection.refused));
    return connection.close_when_sent("over a limit");
  }
  auto parsed = parse_message(frame);
  if (!parsed) {
    // What follows cannot be trusted to be framed rightly either.
    spdlog::debug("connection {}: {}", connection.id, parsed.error().message);
    connection.send(error_reply(parsed.error()));
    return connection.close_when_sent("a malformed message");
  }
  const json& message = *parsed;
  const bool oneway = message.contains("oneway") && message["oneway"] == true;
  const auto method = message.find("method");
  const auto refuse = [&](json error) {
    if (!oneway) connection.send(error);
  };
  if (method == message.end() || !method->is_string()) return refuse(varlink_error("InvalidParameter", "parameter", "method"));
  static const json none = json::object();
  const auto given = message.find("parameters");
  if (given != message.end() && !given->is_object() && !given->is_null()) return refuse(varlink_error("InvalidParameter", "parameter", "parameters"));
  const json& parameters = given == message.end() || given->is_null() ? none : *given;
  if (message.contains("upgrade") && message["upgrade"] == true) return refuse(varlink_error("InvalidParameter", "parameter", "upgrade"));
  const std::string name = method->get<std::string>();
  const auto dot = name.rfind('.');
  const std::string interface = dot == std::string::npos ? std::string() : name.substr(0, dot);
  if (auto reply = service_method(name, parameters)) return refuse(std::move(*reply));
  if (interface != kInterface) {
    if (interface == kService) return refuse(varlink_error("MethodNotFound", "method", printable(name)));
    return refuse(varlink_error("InterfaceNotFound", "interface", printable(interface.empty() ? name : interface)));
  }
  for (const Row& row : kMethods) {
    if (name.compare(dot + 1, std::string::npos, row.name) != 0) continue;
    if (!connection.offered.empty() && row.method != &Methods::hello) {
      connection.offered.clear();
      connection.send(error_reply({Errc::protocol_error, std::string(row.name) + " takes no descriptors", {}, 0, "send descriptors with Hello only"}));
      return connection.close_when_sent("descriptors that nobody asked for");
    }
    // The reserve is for what has begun.
    if (memory_is_short())
      return refuse(error_reply({Errc::no_space, "the broker has no memory left", {}, 0, "end programs that use much memory, or raise the broker's limit (ulimit -v, MemoryMax=)"}));
    const bool sends_descriptors = row.method == &Methods::hello || row.method == &Methods::attach || row.method == &Methods::refresh;
    if (sends_descriptors)
      if (auto allowed = broker_.check_descriptors(connection.peer.uid); !allowed) return refuse(error_reply(allowed.error()));
    Arguments arguments(parameters);
    // Every failure to allocate or to look something up ends here, not in the loop.
    Result<Reply> reply = fail(Errc::system_error, "out of memory");
    try {
      reply = (this->*row.method)(connection, arguments);
    } catch (const std::exception& exception) {
      reply = fail(Errc::system_error, std::string(row.name) + " failed: " + exception.what());
      spdlog::error("{} failed: {}", row.name, exception.what());
    }
    answer(connection, std::move(reply), oneway);
    static_cast<void>(broker_.compact_journal_if_wanted());
    return;
  }
  refuse(varlink_error("MethodNotFound", "method", printable(name)));
}

void Methods::answer(Connection& connection, Result<Reply> reply, bool oneway) {
  if (!reply) {
    spdlog::debug("connection {}: {}", connection.id, reply.error().message);
    if (!oneway) connection.send(error_reply(reply.error()));
    return;
  }
  if (reply->deferred || oneway) return;
  ATOLL_KILL_POINT("broker.reply.ready");
  connection.send(text_of(*reply), std::move(reply->fds));
  ATOLL_KILL_POINT("broker.reply.sent");
}

Result<SegmentPtr> Methods::existing(const std::string& name) {
  if (!protocol::valid_name(name)) return fail(Errc::invalid_name, "'" + printable(name) + "' is not a valid name");
  if (SegmentPtr segment = broker_.store->find(name)) return segment;
  return fail(Errc::unknown_segment, "there is no segment '" + name + "'", name);
}

Result<SegmentPtr> Methods::usable(const std::string& name) {
  auto segment = existing(name);
  if (segment && (*segment)->broken) return fail(*(*segment)->broken);
  return segment;
}

Result<Reply> Methods::hello(Connection& connection, Arguments& in) {
  const std::int64_t version = in.number("interface_version", 1, INT32_MAX);
  const std::string library = in.text("library");
  const std::string language = in.text("language");
  const auto command = in.optional_text("command");
  const auto token = in.optional_text("token");
  const auto number = in.optional_number("slot", 0, protocol::kMaxSlots - 1);
  const auto generation = in.optional_number("slot_generation", 0, UINT32_MAX);
  const json& attachments = in.array("attachments", false);
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  if (connection.slot) return fail(Errc::protocol_error, "Hello was already said on this connection", {}, 0, "say it once, first");
  if (version != protocol::kInterfaceVersion)
    return fail(Errc::wrong_version,
                "the client speaks version " + std::to_string(version) + " of dev.atoll.Broker, this broker (" ATOLL_VERSION ") version " +
                    std::to_string(protocol::kInterfaceVersion),
                {}, static_cast<std::uint64_t>(version));

  Slot* slot = nullptr;
  bool known = false;
  if (token && number && generation) {
    slot = broker_.slots->find({static_cast<unsigned>(*number), static_cast<std::uint32_t>(*generation)});
    // A token alone is not enough: a forked child knows its parent's, but is another process.
    known = slot != nullptr && slot->token == *token && slot->process.uid == connection.peer.uid && slot->process.pid == connection.peer.pid &&
            (slot->process.start_time == 0 || connection.peer.start_time == 0 || slot->process.start_time == connection.peer.start_time);
    if (!known) slot = nullptr;
  }
  if (known) {
    ATOLL_KILL_POINT("broker.hello.known");
    const auto old = broker_.connections.find(slot->connection);
    if (old != broker_.connections.end()) {
      old->second->slot.reset();
      old->second->close_when_sent("replaced by a newer connection");
    }
    if (!slot->pidfd && connection.pidfd) {
      slot->pidfd = std::move(connection.pidfd);
      broker_.watch_process(*slot);
    }
  } else {
    if (auto allowed = broker_.limits->check_slot(connection.peer); !allowed) return fail(allowed.error());
    auto granted = broker_.slots->grant(connection.peer, std::move(connection.pidfd), library + "/" + language);
    if (!granted) return fail(granted.error());
    slot = *granted;
    if (command && slot->process.command.empty()) slot->process.command = printable(*command);
    ATOLL_KILL_POINT("broker.hello.granted");
    reset_bell(*broker_.runtime.bells, slot->key.slot);
    ATOLL_KILL_POINT("broker.hello.bell");
    broker_.watch_process(*slot);
  }
  slot->connection = connection.id;
  connection.slot = slot->key;
  connection.pidfd.reset();  // the slot has one
  connection.refuse_descriptors();
  return restore(connection, *slot, attachments, known);
}

Result<Reply> Methods::restore(Connection& connection, Slot& slot, const json& attachments, bool known) {
  for (const UniqueFd& fd : connection.offered) {
    if (!broker_.store->offer_memory(fd)) spdlog::debug("connection {} offered a descriptor that is not memory of a lost segment", connection.id);
  }
  const bool offered = !connection.offered.empty();
  connection.offered.clear();
  if (offered)
    for (const auto& [name, segment] : broker_.store->all())
      if (segment->manifest.backing == protocol::Backing::memfd) broker_.recovery->bind(segment);

  json lost = json::array();
  std::set<std::int64_t> listed;
  for (const json& row : attachments) {
    if (!row.is_object()) return fail(Errc::protocol_error, "the parameter 'attachments' holds something that is no object");
    Arguments in(row, "attachments[].");
    const std::int64_t id = in.number("attachment", 0, INT64_MAX);
    const std::string name = in.text("name");
    const std::int64_t generation = in.number("generation", 0, INT64_MAX);
    const std::string role = in.text("role");
    in.optional_number("lane", 0, protocol::kMaxLanes - 1);
    in.optional_text("group");
    if (auto wrong = in.done(); !wrong) return fail(wrong.error());
    const Attachment* held = broker_.slots->attachment(id);
    const bool right = known && held != nullptr && held->slot == slot.key && held->segment->name() == name && !held->segment->removed &&
                       static_cast<std::int64_t>(held->segment->manifest.generation) == generation && role == attach_role_name(held->role) &&
                       (!held->segment->broken || held->segment->awaiting_memory);
    if (right)
      listed.insert(id);
    else
      lost.push_back(id);
  }
  // What it does not name it never heard of, or gave back while nobody listened.
  for (const std::int64_t id : std::set<std::int64_t>(slot.attachments))
    if (listed.count(id) == 0) broker_.recovery->give_back(id);
  ATOLL_KILL_POINT("broker.hello.restored");

  auto bells = reopen(broker_.runtime.bells_file.get(), true, "the bells file");
  if (!bells) return fail(bells.error());
  auto life = reopen(broker_.runtime.life.get(), false, "the life file");
  if (!life) return fail(life.error());
  Reply reply;
  reply.parameters = {{"interface_version", protocol::kInterfaceVersion},
                      {"layout_version", protocol::kLayoutVersion},
                      {"broker_version", ATOLL_VERSION},
                      {"pid", ::getpid()},
                      {"epoch", broker_.epoch},
                      {"slot", slot.key.slot},
                      {"slot_generation", slot.key.generation},
                      {"token", slot.token},
                      {"known", known},
                      {"lost", std::move(lost)},
                      {"directory", broker_.runtime.path},
                      {"fds",
                       {{{"role", "bells"}, {"size", protocol::kBellsFileSize}, {"writable", true}}, {{"role", "life"}, {"size", 0}, {"writable", false}}}}};
  reply.fds.push_back(std::move(*bells));
  reply.fds.push_back(std::move(*life));
  return reply;
}

Result<Reply> Methods::status(Connection& connection, Arguments& in) {
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  auto room = room_of(broker_.runtime.shm.get(), "/dev/shm");
  const FileSystemRoom known = room ? *room : FileSystemRoom{};
  Reply reply;
  reply.parameters = {{"broker_version", ATOLL_VERSION},
                      {"pid", ::getpid()},
                      {"epoch", broker_.epoch},
                      {"started_ns", broker_.started_ns},
                      {"uptime_ns", monotonic_ns() - broker_.started_monotonic_ns},
                      {"uid", ::geteuid()},
                      {"socket", broker_.runtime.socket_path},
                      {"directory", broker_.runtime.path},
                      {"shm_directory", broker_.runtime.shm_path},
                      {"log", broker_.options.log_file},
                      {"autostarted", broker_.options.autostart},
                      {"recovering", broker_.recovering},
                      {"connections", broker_.connections.size()},
                      {"slots", broker_.slots->all().size()},
                      {"segments", broker_.store->all().size()},
                      {"bytes", broker_.limits->bytes_of(connection.peer.uid, false)},
                      {"bytes_limit", broker_.limits->bytes_limit_of(connection.peer.uid, known.total)},
                      {"free", known.free},
                      {"total", known.total}};
  return reply;
}

Result<Reply> Methods::stop(Connection& connection, Arguments& in) {
  if (auto wrong = in.done(); !wrong) return fail(wrong.error());
  if (connection.peer.uid != 0 && connection.peer.uid != ::geteuid())
    return fail(Errc::not_permitted, "only " + user_name(::geteuid()) + ", whose broker this is, or root may stop it", {}, connection.peer.uid,
                "ask them to run `atoll stop`");
  Reply reply;
  reply.parameters = {{"clients", broker_.connections.size() - 1}};
  broker_.stop("asked by process " + std::to_string(connection.peer.pid) + " (" + connection.peer.command + ")");
  return reply;
}

}  // namespace atoll_ipc::daemon
