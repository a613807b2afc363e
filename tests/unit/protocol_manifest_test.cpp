// The manifest: what is written is read back, and nothing wrong is believed. protocol/manifest.hpp.
#include <catch2/catch.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "atoll/protocol/manifest.hpp"

using namespace atoll_ipc::protocol;
using atoll_ipc::Errc;
using nlohmann::json;

namespace {

Manifest stream() {
  Manifest manifest;
  manifest.name = "prices/eur";
  manifest.generation = 3;
  manifest.uuid = {0x0a, 0x70, 0x11, 0, 0, 0, 0x40, 0, 0x80, 0, 0xc0, 0xff, 0xee, 0, 0, 1};
  manifest.uid = 1000;
  manifest.created_ns = 1'700'000'000'000'000'000ull;
  manifest.capacity = 65536;
  manifest.when_full = WhenFull::drop_new;
  manifest.alignment = 64;
  manifest.access = {{"*", {"observe"}}, {"ann", {"produce", "consume"}}};
  manifest.files = {{Role::header, 0, 0, {}, 0, 4096, "/dev/shm/x/header"},
                    {Role::lane, 5, 2, {}, 0, 4096 + 65536, "/dev/shm/x/lane-5.2"},
                    {Role::group, 1, 1, "workers", kGroupExclusive, sizeof(GroupFile), "/dev/shm/x/group-1.1"},
                    {Role::bell, 0, 0, {}, 0, 4096, "/dev/shm/x/bell"}};
  return manifest;
}

Manifest bytes() {
  Manifest manifest = stream();
  manifest.kind = Kind::bytes;
  manifest.backing = Backing::file;
  manifest.directory = "/srv/data";
  manifest.size = 10000;
  manifest.put_size = 100;
  manifest.files = {{Role::data, 0, 0, {}, 0, 4096 + 12288 + 4096, "/srv/data/x/data"}, {Role::bell, 0, 0, {}, 0, 4096, "/srv/data/x/bell"}};
  return manifest;
}

// What parse_manifest says of a good manifest with one thing changed: the failure, or none.
Check changed(const Manifest& good, const std::function<void(json&)>& change) {
  json text = json::parse(manifest_text(good));
  change(text);
  Manifest out;
  return parse_manifest(text.dump(), out);
}

void refused(const Check& check, Errc code, const std::string& named) {
  REQUIRE(check.has_value());
  INFO(check->message);
  CHECK(check->code == code);
  CHECK(check->message.find(named) != std::string::npos);
}

}  // namespace

TEST_CASE("a stream's manifest is read back as it was written") {
  const Manifest written = stream();
  Manifest read;
  const Check check = parse_manifest(manifest_text(written), read);
  INFO((check ? check->message : std::string()));
  REQUIRE_FALSE(check.has_value());
  CHECK(read.name == written.name);
  CHECK(read.generation == 3);
  CHECK(read.uuid == written.uuid);
  CHECK(read.capacity == 65536);
  CHECK(read.when_full == WhenFull::drop_new);
  CHECK(read.alignment == 64);
  CHECK(read.access == written.access);
  REQUIRE(read.files.size() == 4);
  CHECK(read.files[1].index == 5);
  CHECK(read.files[1].incarnation == 2);
  CHECK(read.files[2].group == "workers");
  CHECK(read.files[2].group_flags == kGroupExclusive);
  CHECK(read.files[3].path == "/dev/shm/x/bell");
}

TEST_CASE("a bytes segment's manifest is read back as it was written") {
  Manifest read;
  const Check check = parse_manifest(manifest_text(bytes()), read);
  INFO((check ? check->message : std::string()));
  REQUIRE_FALSE(check.has_value());
  CHECK(read.kind == Kind::bytes);
  CHECK(read.backing == Backing::file);
  CHECK(read.directory == "/srv/data");
  CHECK(read.size == 10000);
  CHECK(read.put_size == 100);
}

TEST_CASE("the layout in a manifest says where things are in the structs") {
  const json layout = json::parse(manifest_text(stream())).at("layout");
  CHECK(layout.at("lane").at("fields").at("limit").at("offset") == 256);
  CHECK(layout.at("lane").at("ring").at("offset") == 4096);
  CHECK(layout.at("record").at("fields").at("sequence").at("offset") == 8);
  CHECK(layout.at("group").at("claims").at("offset") == 8192);
  CHECK(json::parse(manifest_text(bytes())).at("layout").at("data").at("content").at("offset") == 4096);
}

TEST_CASE("every field that a manifest must have is missed by name") {
  for (const char* field : {"layout_version", "min_reader_version", "byte_order", "required_features", "name", "kind", "backing", "generation", "uuid",
                            "uid", "created_ns", "granule", "alignment", "access", "files", "capacity", "when_full"}) {
    INFO(field);
    refused(changed(stream(), [&](json& m) { m.erase(field); }), Errc::bad_manifest, field);
  }
  for (const char* field : {"size", "put_size", "directory"}) {
    INFO(field);
    refused(changed(bytes(), [&](json& m) { m.erase(field); }), Errc::bad_manifest, field);
  }
}

TEST_CASE("a field of another type is named") {
  for (const char* field : {"name", "kind", "generation", "uuid", "uid", "alignment", "access", "files", "capacity", "when_full"}) {
    INFO(field);
    refused(changed(stream(), [&](json& m) { m[field] = nullptr; }), Errc::bad_manifest, field);
    refused(changed(stream(), [&](json& m) { m[field] = 1.5; }), Errc::bad_manifest, field);
  }
}

TEST_CASE("numbers out of range and sizes that do not fit together are refused") {
  const auto bad = [](const Manifest& good, const char* named, const std::function<void(json&)>& change) {
    INFO(named);
    refused(changed(good, change), Errc::bad_manifest, named);
  };
  bad(stream(), "capacity", [](json& m) { m["capacity"] = 65537; });
  bad(stream(), "capacity", [](json& m) { m["capacity"] = 2048; });
  bad(stream(), "capacity", [](json& m) { m["capacity"] = 1ull << 63; });
  bad(stream(), "capacity", [](json& m) { m["capacity"] = -65536; });
  bad(stream(), "alignment", [](json& m) { m["alignment"] = 32; });
  bad(stream(), "generation", [](json& m) { m["generation"] = 0; });
  bad(stream(), "uid", [](json& m) { m["uid"] = 1ull << 32; });
  bad(stream(), "size", [](json& m) { m["files"][1]["size"] = 65536; });
  bad(stream(), "size", [](json& m) { m["files"][2]["size"] = 4096; });
  bad(stream(), "size", [](json& m) { m["files"][0]["size"] = 0; });
  bad(bytes(), "size", [](json& m) { m["files"][0]["size"] = 4096; });
  bad(bytes(), "put_size", [](json& m) { m["put_size"] = ~0ull; });
}

TEST_CASE("files are exactly those of the kind, each number once, with absolute paths") {
  const auto bad = [](const char* named, const std::function<void(json&)>& change) {
    INFO(named);
    refused(changed(stream(), change), Errc::bad_manifest, named);
  };
  bad("files", [](json& m) { m["files"].erase(0); });
  bad("files", [](json& m) { m["files"].push_back(m["files"][0]); });
  bad("files", [](json& m) { m["files"].push_back("lane"); });
  bad("lane", [](json& m) { m["files"].push_back(m["files"][1]); });
  bad("lane", [](json& m) { m["files"][1]["lane"] = 64; });
  bad("id", [](json& m) { m["files"][2]["id"] = 16; });
  bad("group", [](json& m) { m["files"][2]["group"] = "../x"; });
  bad("role", [](json& m) { m["files"][1]["role"] = "pool"; });
  bad("path", [](json& m) { m["files"][1]["path"] = "lane-5.2"; });
  bad("path", [](json& m) { m["files"][1]["path"] = nullptr; });
  bad("incarnation", [](json& m) { m["files"][1]["incarnation"] = 0; });
}

TEST_CASE("a memfd's file has no path") {
  Manifest manifest = stream();
  manifest.backing = Backing::memfd;
  for (ManifestFile& file : manifest.files) file.path.clear();
  Manifest read;
  CHECK_FALSE(parse_manifest(manifest_text(manifest), read).has_value());
  refused(changed(manifest, [](json& m) { m["files"][0]["path"] = "/x"; }), Errc::bad_manifest, "path");
}

TEST_CASE("a newer layout that this reader cannot follow names both versions, one that it can is taken") {
  refused(changed(stream(), [](json& m) { m["layout_version"] = 3, m["min_reader_version"] = 2; }), Errc::wrong_version, "layout 3");
  refused(changed(stream(), [](json& m) { m["required_features"] = 1ull << 63; }), Errc::wrong_version, "layout 1");
  CHECK_FALSE(changed(stream(), [](json& m) { m["layout_version"] = 2; }).has_value());
  CHECK_FALSE(changed(stream(), [](json& m) { m["something_new"] = true; }).has_value());
  // What a newer version changed elsewhere must not hide that it is newer.
  refused(changed(stream(), [](json& m) { m["min_reader_version"] = 2, m["kind"] = "table", m["capacity"] = "big"; }), Errc::wrong_version, "prices/eur");
}

TEST_CASE("a manifest of the other byte order is told apart from a damaged one") {
  refused(changed(stream(), [](json& m) { m["byte_order"] = "big"; }), Errc::wrong_byte_order, "prices/eur");
  refused(changed(stream(), [](json& m) { m["byte_order"] = "middle"; }), Errc::bad_manifest, "byte_order");
}

TEST_CASE("text that is no manifest at all is refused and leaves the result as it was") {
  const std::string good = manifest_text(stream());
  Manifest out;
  out.name = "untouched";
  for (const std::string& text : {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string(100000, '['), good.substr(0, good.size() / 2),
                                  std::string(kMaxManifest + 1, ' '), std::string("{\"name\":\"\xff\"}")}) {
    const Check check = parse_manifest(text, out);
    REQUIRE(check.has_value());
    CHECK(check->code == Errc::bad_manifest);
    CHECK(out.name == "untouched");
  }
}
