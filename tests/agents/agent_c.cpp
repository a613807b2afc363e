// The agent of the C interface: nothing of the library but atoll.h. See README.md here.
#include <atoll/atoll.h>

#include <cstring>
#include <map>
#include <stdexcept>

#include "agent_loop.hpp"

namespace {

using agent::json;

// Collects one call's error: check(atoll_x(..., error)) throws it.
struct Call {
  atoll_error error = ATOLL_ERROR_INIT;
  void check(atoll_status status) const {
    if (status == ATOLL_OK) return;
    throw agent::Refusal{atoll_status_name(status), status, error.message, error.segment, error.fix, error.detail};
  }
};

std::uint32_t one_of(const std::string& word, std::initializer_list<std::pair<const char*, std::uint32_t>> words) {
  for (const auto& [name, value] : words)
    if (word == name) return value;
  throw std::runtime_error("unknown word " + word);
}
std::uint32_t content(const json& r) {
  return one_of(r.value("content", "bytes"), {{"bytes", ATOLL_CONTENT_BYTES}, {"text", ATOLL_CONTENT_TEXT},
                                              {"json", ATOLL_CONTENT_JSON}, {"array", ATOLL_CONTENT_ARRAY}});
}
std::int64_t timeout(const json& r) { return agent::nanoseconds(r, "timeout_ms", 10'000); }

struct CAgent {
  atoll_client* client = nullptr;
  std::map<std::string, atoll_producer*> producers;
  std::map<std::string, atoll_consumer*> consumers;
  std::map<std::string, atoll_bytes*> bytes;
  std::map<std::string, atoll_view> views;
  std::map<std::string, atoll_loan> loans;

  static std::string text(const json& r, const char* field) { return r.at(field).get<std::string>(); }
  atoll_producer* producer(const json& r) { return producers.at(text(r, "h")); }
  atoll_consumer* consumer(const json& r) { return consumers.at(text(r, "h")); }

  json connect(const json& r) {
    atoll_connect_options o = ATOLL_CONNECT_OPTIONS_INIT;
    const auto socket = r.value("socket", "");
    if (!socket.empty()) o.socket_path = socket.c_str();
    if (!r.value("start_broker", true)) o.flags |= ATOLL_CONNECT_NO_START;
    Call call;
    atoll_client* made = nullptr;
    call.check(atoll_client_connect(&o, &made, &call.error));
    client = made;
    return json::object();
  }

  json create(const json& r) {
    atoll_create_options o = ATOLL_CREATE_OPTIONS_INIT;
    o.kind = one_of(r.value("kind", "stream"), {{"stream", ATOLL_KIND_STREAM}, {"bytes", ATOLL_KIND_BYTES}});
    o.backing = one_of(r.value("backing", "shm"), {{"shm", ATOLL_BACKING_SHM}, {"file", ATOLL_BACKING_FILE}, {"memfd", ATOLL_BACKING_MEMFD}});
    o.when_full = one_of(r.value("when_full", "block"), {{"block", ATOLL_BLOCK}, {"drop-new", ATOLL_DROP_NEW}, {"overwrite", ATOLL_OVERWRITE}});
    o.capacity = r.value("capacity", o.capacity);
    o.alignment = r.value("alignment", o.alignment);
    o.size = r.value("size", o.size);
    if (r.contains("put_size")) {
      const auto size = r["put_size"].get<std::int64_t>();
      o.put_size = size == 0 ? -1 : size;
    }
    const auto directory = r.value("directory", ""), access = r.value("access", "");
    if (!directory.empty()) o.directory = directory.c_str();
    if (!access.empty()) o.access = access.c_str();
    Call call;
    int created = 0;
    call.check(atoll_client_create(client, text(r, "name").c_str(), &o, &created, &call.error));
    return {{"created", created != 0}};
  }

  json open(const std::string& op, const json& r) {
    Call call;
    const auto h = text(r, "h"), name = text(r, "name");
    const auto wait = agent::nanoseconds(r, "wait_ms", 0);
    if (op == "open_producer") {
      atoll_producer_options o = ATOLL_PRODUCER_OPTIONS_INIT;
      o.wait_ns = wait;
      atoll_producer* made = nullptr;
      call.check(atoll_client_open_producer(client, name.c_str(), &o, &made, &call.error));
      producers[h] = made;
    } else if (op == "open_bytes") {
      atoll_bytes_options o = ATOLL_BYTES_OPTIONS_INIT;
      o.mode = one_of(r.value("mode", "read"), {{"read", ATOLL_MAP_READ}, {"write", ATOLL_MAP_WRITE}, {"copy", ATOLL_MAP_COPY}});
      o.wait_ns = wait;
      atoll_bytes* made = nullptr;
      call.check(atoll_client_open_bytes(client, name.c_str(), &o, &made, &call.error));
      bytes[h] = made;
    } else {
      const bool observer = op == "open_observer";
      atoll_consumer_options o = ATOLL_CONSUMER_OPTIONS_INIT;
      const auto group = r.value("group", "default");
      o.group = group.c_str();
      o.flags = (r.value("manual", false) ? ATOLL_CONSUMER_MANUAL : 0u) | (r.value("exclusive", false) ? ATOLL_CONSUMER_EXCLUSIVE : 0u) | (r.value("spin", false) ? ATOLL_CONSUMER_SPIN : 0u) |
                (r.value("ephemeral", false) ? ATOLL_CONSUMER_EPHEMERAL : 0u);
      o.start = one_of(r.value("start", observer ? "latest" : "earliest"),
                       {{"earliest", ATOLL_START_EARLIEST}, {"latest", ATOLL_START_LATEST}, {"back", ATOLL_START_BACK}});
      o.start_back = r.value("back", std::uint64_t{0});
      o.wait_ns = wait;
      atoll_consumer* made = nullptr;
      call.check(observer ? atoll_client_open_observer(client, name.c_str(), &o, &made, &call.error)
                          : atoll_client_open_consumer(client, name.c_str(), &o, &made, &call.error));
      consumers[h] = made;
    }
    return json::object();
  }

  static std::span<const std::byte> payload(const atoll_view& v) {
    return {static_cast<const std::byte*>(v.data), static_cast<std::size_t>(v.length)};
  }

  json receive(const json& r) {
    Call call;
    atoll_view v{};
    call.check(atoll_consumer_receive(consumer(r), timeout(r), &v, &call.error));
    static const char* const contents[] = {"bytes", "text", "json", "array"};
    json answer = {{"data", agent::to_hex(payload(v))}, {"sequence", v.sequence}, {"lane", v.lane}, {"lost", v.lost},
                   {"content", contents[v.content & 3u]}, {"deliveries", v.deliveries}};
    if (r.contains("v"))
      views[text(r, "v")] = v;
    else
      call.check(atoll_consumer_release(consumer(r), &v, &call.error));
    return answer;
  }

  json patterns(const json& r, bool sending) {
    const agent::Pattern pattern(r.at("seed").get<std::uint64_t>(), r.at("largest").get<std::uint64_t>());
    const auto count = r.at("count").get<std::uint64_t>();
    Call call;
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto expected = pattern.record(i);
      if (sending) {
        call.check(atoll_producer_send(producer(r), expected.data(), expected.size(), ATOLL_CONTENT_BYTES, timeout(r), &call.error));
        continue;
      }
      atoll_view v{};
      call.check(atoll_consumer_receive(consumer(r), timeout(r), &v, &call.error));
      if (v.length != expected.size() || std::memcmp(v.data, expected.data(), expected.size()) != 0)
        throw std::runtime_error("record " + std::to_string(i) + " differs");
      call.check(atoll_consumer_release(consumer(r), &v, &call.error));
    }
    return {{"received", count}};
  }

  json info(const json& r) {
    const auto h = text(r, "h");
    Call call;
    if (const auto p = producers.find(h); p != producers.end()) {
      atoll_producer_info i{};
      i.struct_size = sizeof i;
      call.check(atoll_producer_get_info(p->second, &i, &call.error));
      return {{"capacity", i.capacity}, {"max_payload", i.max_payload}, {"sequence", i.sequence}, {"dropped", i.dropped},
              {"alignment", i.alignment}, {"lane", i.lane}};
    }
    if (const auto b = bytes.find(h); b != bytes.end()) {
      atoll_bytes_info i{};
      i.struct_size = sizeof i;
      call.check(atoll_bytes_get_info(b->second, &i, &call.error));
      return {{"size", i.size}, {"put_size", i.put_size}, {"length", i.length}, {"version", i.version}};
    }
    atoll_consumer_info i{};
    i.struct_size = sizeof i;
    call.check(atoll_consumer_get_info(consumer(r), &i, &call.error));
    return {{"received", i.received}, {"lost", i.lost}, {"outstanding", i.outstanding}, {"lanes", i.lanes}};
  }

  json on_view(const std::string& op, const json& r) {
    Call call;
    const atoll_view* v = &views.at(text(r, "v"));
    const auto function = op == "release"             ? atoll_consumer_release
                          : op == "acknowledge"       ? atoll_consumer_acknowledge
                          : op == "acknowledge_up_to" ? atoll_consumer_acknowledge_up_to
                                                      : atoll_consumer_reject;
    call.check(function(consumer(r), v, &call.error));
    return json::object();
  }

  json on_bytes(const std::string& op, const json& r) {
    Call call;
    atoll_bytes* b = bytes.at(text(r, "h"));
    if (op == "read_at") {
      std::vector<std::byte> into(r.at("length").get<std::size_t>());
      call.check(atoll_bytes_read_at(b, r.at("offset").get<std::uint64_t>(), into.data(), into.size(), &call.error));
      return {{"data", agent::to_hex(into)}};
    }
    if (op == "get") {
      std::vector<std::byte> into(static_cast<std::size_t>(atoll_bytes_size(b)) + 1);
      std::uint64_t length = 0, version = 0;
      call.check(atoll_bytes_get(b, r.value("after", std::uint64_t{0}), timeout(r), into.data(), into.size(), &length, &version, &call.error));
      return {{"data", agent::to_hex(std::span(into).first(static_cast<std::size_t>(length)))}, {"version", version}};
    }
    if (op == "flush") return call.check(atoll_bytes_flush(b, 0, 0, 1, &call.error)), json::object();
    const auto data = agent::from_hex(text(r, "data"));
    if (op == "put") return call.check(atoll_bytes_put(b, data.data(), data.size(), timeout(r), &call.error)), json::object();
    call.check(atoll_bytes_write_at(b, r.at("offset").get<std::uint64_t>(), data.data(), data.size(), &call.error));
    return json::object();
  }

  json on_producer(const std::string& op, const json& r) {
    Call call;
    atoll_producer* p = producer(r);
    if (op == "send") {
      const auto data = agent::from_hex(text(r, "data"));
      call.check(atoll_producer_send(p, data.data(), data.size(), content(r), timeout(r), &call.error));
    } else if (op == "send_many") {
      std::vector<std::vector<std::byte>> records;
      std::vector<atoll_slice> slices;
      for (const auto& data : r.at("records")) records.push_back(agent::from_hex(data.get<std::string>()));
      for (const auto& record : records) slices.push_back({record.data(), record.size()});
      std::size_t sent = 0;
      call.check(atoll_producer_send_many(p, slices.data(), slices.size(), ATOLL_CONTENT_BYTES, timeout(r), &sent, &call.error));
      return {{"sent", sent}};
    } else if (op == "loan") {
      const auto data = agent::from_hex(text(r, "data"));
      atoll_loan loan{};
      call.check(atoll_producer_loan(p, data.size(), ATOLL_CONTENT_BYTES, timeout(r), &loan, &call.error));
      if (!data.empty()) std::memcpy(loan.data, data.data(), data.size());
      loans[text(r, "v")] = loan;
    } else if (op == "commit") {
      call.check(atoll_producer_commit(p, &loans.at(text(r, "v")), &call.error));
    } else if (op == "abort") {
      call.check(atoll_producer_abort(p, &loans.at(text(r, "v")), &call.error));
    } else {
      call.check(atoll_producer_finish(p, &call.error));
    }
    return json::object();
  }

  json close(const json& r) {
    const auto h = text(r, "h");
    if (producers.contains(h)) atoll_producer_close(producers.extract(h).mapped());
    if (consumers.contains(h)) atoll_consumer_close(consumers.extract(h).mapped());
    if (bytes.contains(h)) atoll_bytes_close(bytes.extract(h).mapped());
    return json::object();
  }

  json handle(const json& r) {
    const auto op = text(r, "op");
    Call call;
    if (op == "connect") return connect(r);
    if (op == "create") return create(r);
    if (op == "remove") return call.check(atoll_client_remove(client, text(r, "name").c_str(), r.value("force", false), &call.error)), json::object();
    if (op == "call") {
      char* reply = nullptr;
      call.check(atoll_client_call(client, text(r, "method").c_str(), r.value("parameters", json::object()).dump().c_str(), &reply, &call.error));
      json answer = {{"reply", json::parse(reply)}};
      atoll_string_free(reply);
      return answer;
    }
    if (op.starts_with("open_")) return open(op, r);
    if (op == "receive") return receive(r);
    if (op == "send_pattern" || op == "receive_pattern") return patterns(r, op == "send_pattern");
    if (op == "release" || op == "acknowledge" || op == "acknowledge_up_to" || op == "reject") return on_view(op, r);
    if (op == "exhaust_descriptors") return agent::exhaust_descriptors(), json::object();
    if (op == "info") return info(r);
    if (op == "close") return close(r);
    if (op == "read_at" || op == "write_at" || op == "flush" || op == "put" || op == "get") return on_bytes(op, r);
    return on_producer(op, r);
  }

  ~CAgent() {
    for (const auto& [name, p] : producers) atoll_producer_close(p);
    for (const auto& [name, c] : consumers) atoll_consumer_close(c);
    for (const auto& [name, b] : bytes) atoll_bytes_close(b);
    atoll_client_close(client);
  }
  CAgent() = default;
  CAgent(const CAgent&) = delete;
  CAgent& operator=(const CAgent&) = delete;
};

}  // namespace

int main() {
  CAgent c;
  return agent::run(c);
}
