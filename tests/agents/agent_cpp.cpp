// The agent of the C++ interface. See README.md here.
#include <atoll/atoll.hpp>
#include <algorithm>
#include <map>
#include <optional>
#include <stdexcept>
#include <variant>

#include "agent_loop.hpp"

namespace {

using agent::json;
using namespace atoll_ipc;

template <class T>
T taken(Result<T>&& result) {
  if (!result) {
    const Error& e = result.error();
    throw agent::Refusal{e.name(), static_cast<int>(e.code()), std::string(e.message()), std::string(e.segment()),
                         std::string(e.fix()), e.detail()};
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

template <class T>
T one_of(const std::string& word, std::initializer_list<std::pair<const char*, T>> words) {
  for (const auto& [name, value] : words)
    if (word == name) return value;
  throw std::runtime_error("unknown word " + word);
}

Deadline deadline(const json& r, const char* field = "timeout_ms", std::int64_t otherwise_ms = 10'000) {
  return Deadline::from_timeout_ns(agent::nanoseconds(r, field, otherwise_ms));
}
Backing backing(const json& r) {
  return one_of<Backing>(r.value("backing", "shm"), {{"shm", Backing::shm}, {"file", Backing::file}, {"memfd", Backing::memfd}});
}
Start start(const json& r, const char* otherwise) {
  return one_of<Start>(r.value("start", otherwise), {{"earliest", Start::earliest}, {"latest", Start::latest}, {"back", Start::back}});
}
Content content(const json& r) {
  return one_of<Content>(r.value("content", "bytes"),
                         {{"bytes", Content::bytes}, {"text", Content::text}, {"json", Content::json}, {"array", Content::array}});
}
const char* content_name(Content c) {
  static const char* const names[] = {"bytes", "text", "json", "array"};
  return names[static_cast<unsigned>(c) & 3u];
}

struct CppAgent {
  std::optional<Client> client;
  std::map<std::string, Producer> producers;
  std::map<std::string, Consumer> consumers;
  std::map<std::string, Observer> observers;
  std::map<std::string, Bytes> bytes;
  std::map<std::string, View> views;
  std::map<std::string, Loan> loans;

  static std::string text(const json& r, const char* field) { return r.at(field).get<std::string>(); }
  Producer& producer(const json& r) { return producers.at(text(r, "h")); }
  View& view(const json& r) { return views.at(text(r, "v")); }

  View next(const json& r) {
    const auto h = text(r, "h");
    if (const auto c = consumers.find(h); c != consumers.end()) return taken(c->second.receive(deadline(r)));
    return taken(observers.at(h).receive(deadline(r)));
  }

  json create(const json& r) {
    const auto name = text(r, "name");
    if (r.value("kind", "stream") == "bytes") {
      BytesOptions o;
      o.size = r.value("size", std::uint64_t{0});
      if (r.contains("put_size")) o.put_size = r["put_size"].get<std::uint64_t>();
      o.backing = backing(r);
      o.directory = r.value("directory", "");
      o.access = r.value("access", "");
      return {{"created", taken(client->create(name, o))}};
    }
    StreamOptions o;
    o.capacity = r.value("capacity", o.capacity);
    o.alignment = r.value("alignment", o.alignment);
    o.when_full = one_of<WhenFull>(r.value("when_full", "block"),
                                   {{"block", WhenFull::block}, {"drop-new", WhenFull::drop_new}, {"overwrite", WhenFull::overwrite}});
    o.backing = backing(r);
    o.directory = r.value("directory", "");
    o.access = r.value("access", "");
    return {{"created", taken(client->create(name, o))}};
  }

  json receive(const json& r) {
    View v = next(r);
    json answer = {{"data", agent::to_hex(v.data())}, {"sequence", v.sequence()}, {"lane", v.lane()}, {"lost", v.lost()},
                   {"content", content_name(v.content())}, {"deliveries", v.deliveries()}};
    if (r.contains("v"))
      views.insert_or_assign(text(r, "v"), std::move(v));
    else
      taken(v.release());
    return answer;
  }

  json patterns(const json& r, bool sending) {
    const agent::Pattern pattern(r.at("seed").get<std::uint64_t>(), r.at("largest").get<std::uint64_t>());
    const auto count = r.at("count").get<std::uint64_t>();
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto expected = pattern.record(i);
      if (sending) {
        taken(producer(r).send(expected, deadline(r)));
        continue;
      }
      View v = next(r);
      if (!std::ranges::equal(v.data(), expected)) throw std::runtime_error("record " + std::to_string(i) + " differs");
      taken(v.release());
    }
    return {{"received", count}};
  }

  json info(const json& r) {
    const auto h = text(r, "h");
    if (const auto p = producers.find(h); p != producers.end()) {
      const auto i = taken(p->second.info());
      return {{"capacity", i.capacity}, {"max_payload", i.max_payload}, {"sequence", i.sequence}, {"dropped", i.dropped},
              {"alignment", i.alignment}, {"lane", i.lane}};
    }
    if (const auto b = bytes.find(h); b != bytes.end()) {
      const auto i = taken(b->second.info());
      return {{"size", i.size}, {"put_size", i.put_size}, {"length", i.length}, {"version", i.version}};
    }
    const auto c = consumers.find(h);
    const auto i = c != consumers.end() ? taken(c->second.info()) : taken(observers.at(h).info());
    return {{"received", i.received}, {"lost", i.lost}, {"outstanding", i.outstanding}, {"lanes", i.lanes}};
  }

  json on_bytes(const std::string& op, const json& r) {
    Bytes& b = bytes.at(text(r, "h"));
    if (op == "read_at") {
      std::vector<std::byte> into(r.at("length").get<std::size_t>());
      taken(b.read_at(r.at("offset").get<std::uint64_t>(), into));
      return {{"data", agent::to_hex(into)}};
    }
    if (op == "write_at") return taken(b.write_at(r.at("offset").get<std::uint64_t>(), agent::from_hex(text(r, "data")))), json::object();
    if (op == "flush") return taken(b.flush()), json::object();
    if (op == "put") return taken(b.put(agent::from_hex(text(r, "data")), deadline(r))), json::object();
    const auto contents = taken(b.get(r.value("after", std::uint64_t{0}), deadline(r)));
    return {{"data", agent::to_hex(contents.data)}, {"version", contents.version}};
  }

  json open(const std::string& op, const json& r) {
    const auto h = text(r, "h"), name = text(r, "name");
    const auto wait = deadline(r, "wait_ms", 0);
    if (op == "open_producer") {
      producers.insert_or_assign(h, taken(client->open_producer(name, wait)));
    } else if (op == "open_consumer") {
      ConsumerOptions o;
      o.group = r.value("group", "default");
      o.manual = r.value("manual", false);
      o.exclusive = r.value("exclusive", false);
      o.spin = r.value("spin", false);
      o.ephemeral = r.value("ephemeral", false);
      o.start = start(r, "earliest");
      o.back = r.value("back", std::uint64_t{0});
      o.wait = wait;
      consumers.insert_or_assign(h, taken(client->open_consumer(name, o)));
    } else if (op == "open_observer") {
      ObserverOptions o;
      o.start = start(r, "latest");
      o.back = r.value("back", std::uint64_t{0});
      o.wait = wait;
      observers.insert_or_assign(h, taken(client->open_observer(name, o)));
    } else {
      const auto mode = one_of<MapMode>(r.value("mode", "read"), {{"read", MapMode::read}, {"write", MapMode::write}, {"copy", MapMode::copy}});
      bytes.insert_or_assign(h, taken(client->open_bytes(name, mode, wait)));
    }
    return json::object();
  }

  json disconnect() {
    loans.clear();  // before the handles that they belong to
    views.clear();
    producers.clear();
    consumers.clear();
    observers.clear();
    bytes.clear();
    client.reset();
    return json::object();
  }

  json handle(const json& r) {
    const auto op = text(r, "op");
    if (op == "connect") {
      ConnectOptions o;
      o.socket_path = r.value("socket", "");
      o.start_broker = r.value("start_broker", true);
      client.emplace(taken(Client::connect(o)));
      return json::object();
    }
    if (op == "create") return create(r);
    if (op == "remove") return taken(client->remove(text(r, "name"), r.value("force", false))), json::object();
    if (op == "call") return {{"reply", json::parse(taken(client->call(text(r, "method"), r.value("parameters", json::object()).dump())))}};
    if (op.starts_with("open_")) return open(op, r);
    if (op == "send") return taken(producer(r).send(agent::from_hex(text(r, "data")), deadline(r), content(r))), json::object();
    if (op == "send_many") {
      std::vector<std::vector<std::byte>> records;
      for (const auto& data : r.at("records")) records.push_back(agent::from_hex(data.get<std::string>()));
      const std::vector<std::span<const std::byte>> spans(records.begin(), records.end());
      std::size_t sent = 0;
      taken(producer(r).send_many(spans, deadline(r), Content::bytes, &sent));
      return {{"sent", sent}};
    }
    if (op == "loan") {
      const auto data = agent::from_hex(text(r, "data"));
      Loan loan = taken(producer(r).loan(data.size(), deadline(r)));
      std::ranges::copy(data, loan.data().begin());
      loans.insert_or_assign(text(r, "v"), std::move(loan));
      return json::object();
    }
    if (op == "commit") return taken(loans.at(text(r, "v")).commit()), json::object();
    if (op == "abort") return taken(loans.at(text(r, "v")).abort()), json::object();
    if (op == "exhaust_descriptors") return agent::exhaust_descriptors(), json::object();
    if (op == "disconnect") return disconnect();
    if (op == "event_fd") return taken(consumers.at(text(r, "h")).event_fd()), json::object();
    if (op == "finish") return taken(producer(r).finish()), json::object();
    if (op == "receive") return receive(r);
    if (op == "release") return taken(view(r).release()), json::object();
    if (op == "acknowledge") return taken(view(r).acknowledge()), json::object();
    if (op == "acknowledge_up_to") return taken(view(r).acknowledge_up_to()), json::object();
    if (op == "reject") return taken(view(r).reject()), json::object();
    if (op == "send_pattern" || op == "receive_pattern") return patterns(r, op == "send_pattern");
    if (op == "info") return info(r);
    if (op == "close") {
      const auto h = text(r, "h");
      if (const auto p = producers.find(h); p != producers.end()) p->second.close();
      if (const auto c = consumers.find(h); c != consumers.end()) c->second.close();
      if (const auto o = observers.find(h); o != observers.end()) o->second.close();
      if (const auto b = bytes.find(h); b != bytes.end()) b->second.close();
      return json::object();
    }
    return on_bytes(op, r);
  }
};

}  // namespace

int main() {
  CppAgent cpp;
  const int status = agent::run(cpp);
  cpp.loans.clear();  // before the handles that they belong to
  cpp.views.clear();
  return status;
}
