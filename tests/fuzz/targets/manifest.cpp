// A manifest's text and header pages of any bytes: what client and broker take for a segment.
//
// Input: u8 options, u8 count, that many patches of the files' header pages, then the manifest's text. Option bit 0: the files
// come to a client, by a reply of a broker that sends the text as it is. Whatever the bytes are: a refusal is a known error, what
// is taken is printed and read alike, leaving the layout out changes nothing, and files are taken only with right pages.
#include <sys/mman.h>
#include <unistd.h>

#include "atoll/protocol/manifest.hpp"
#include "client.hpp"

namespace atoll_fuzz {

using namespace atoll_ipc;
using nlohmann::json;
using protocol::Role;

namespace {

constexpr std::size_t kMostFiles = 6;

File& pages() {
  static File file(protocol::kPageSize);
  return file;
}

// Memory of so many bytes, made once; its page is written anew for each input.
File& memory(std::uint64_t size) {
  static std::map<std::uint64_t, std::unique_ptr<File>> files;
  auto& file = files[size];
  if (!file) file = std::make_unique<File>(size);
  return *file;
}

protocol::HeaderPage page_of(const protocol::Manifest& manifest, const protocol::ManifestFile& file) {
  Stream stream;
  stream.capacity = manifest.kind == protocol::Kind::stream ? manifest.capacity : manifest.size;
  stream.alignment = manifest.alignment;
  protocol::HeaderPage page = atoll_fuzz::page_of(stream, file.role, file.index, file.size);
  page.kind = static_cast<std::uint16_t>(manifest.kind);
  page.generation = manifest.generation;
  page.uuid = manifest.uuid;
  return page;
}

// The whole Attach of a client, whose broker answers with this text and these files.
void attach_to(const std::string& text, const protocol::Manifest& manifest) {
  int pair[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "there are descriptors for a connection");
  const protocol::UniqueFd theirs(pair[1]);
  Session& session = *Client::session();
  session.socket_ = protocol::UniqueFd(pair[0]);
  json fds = json::array();
  std::vector<int> sent;
  for (const protocol::ManifestFile& file : manifest.files) {
    if (file.size > (1u << 20) || sent.size() == kMostFiles) break;
    fds.push_back({{"role", protocol::role_name(file.role)}, {"lane", file.index}, {"id", file.index}, {"incarnation", file.incarnation}, {"size", file.size}, {"writable", false}});
    File& bytes = memory(file.size);
    bytes.as<protocol::HeaderPage>() = page_of(manifest, file);
    for (std::size_t i = 0; i < sizeof(protocol::HeaderPage); ++i) bytes.data()[i] ^= pages().data()[i];
    sent.push_back(bytes.fd());
  }
  std::string reply = json{{"parameters", {{"attachment", 1}, {"manifest", json::parse(text)}, {"changes", 1}, {"fds", fds}}}}.dump(-1, ' ', false, json::error_handler_t::replace);
  reply.push_back('\0');
  for (std::string_view left = reply; !left.empty();) {
    const ssize_t n = protocol::send_some(theirs.get(), left, left.size() == reply.size() ? std::span<const int>(sent) : std::span<const int>(), MSG_DONTWAIT);
    if (n <= 0) break;  // longer than a socket holds
    left.remove_prefix(static_cast<std::size_t>(n));
  }
  ::shutdown(theirs.get(), SHUT_WR);
  AttachRequest request;
  request.name = manifest.name;
  request.role = "observe";
  request.kind = manifest.kind;
  auto attached = attach(Client::session(), Client::how(), request);
  session.socket_.reset();
  session.attachments_.clear();
  if (!attached) return require_known(attached.error().code());
  require(attached->manifest.files.empty(), "a client takes the files that came");
  attached->manifest.files = manifest.files;
  require(protocol::manifest_text(attached->manifest) == protocol::manifest_text(manifest), "a client reads what the broker sent");
  require(attached->files.size() == sent.size(), "a client takes every file");
  for (const AttachedFile& file : attached->files) {
    const auto& page = *file.mapping.as<const protocol::HeaderPage>();
    require(page.magic == protocol::kMagic && page.generation == manifest.generation && page.file_size == file.mapping.size(), "a client takes files with right pages only");
  }
}

}  // namespace

void prepare() { static_cast<void>(Client::session()); }

void run(Input input) {
  const auto options = input.take<std::uint8_t>();
  const auto patches = input.take<std::uint8_t>();
  pages().clear();
  pages().patch(input, patches);
  const std::string text(input.rest());

  protocol::Manifest manifest;
  const protocol::Check refused = protocol::parse_manifest(text, manifest);
  if (refused) {
    require_known(refused->code);
    require(manifest.name.empty() && manifest.files.empty(), "a refused manifest leaves nothing");
    return;
  }
  const std::string printed = protocol::manifest_text(manifest);
  protocol::Manifest head;
  require(!protocol::read_manifest(protocol::manifest_head(manifest), protocol::ManifestPart::head, head), "a manifest that is taken is taken without files and layout");
  head.files = manifest.files;
  require(protocol::manifest_text(head) == printed, "files and layout say nothing of the rest");
  protocol::Manifest again;
  const bool long_one = printed.size() > protocol::kMaxManifest;  // written wider than it came
  require(long_one || !protocol::parse_manifest(printed, again), "what was printed is taken");
  require(long_one || protocol::manifest_text(again) == printed, "what was printed is read alike");
  if ((options & 1) != 0) attach_to(text, manifest);
}

}  // namespace atoll_fuzz
