#include "client.hpp"

#include <unistd.h>

#include "atoll/protocol/header_check.hpp"

namespace atoll_fuzz {

using namespace atoll_ipc;
using protocol::Role;
namespace bip = boost::interprocess;

namespace {

// What mapped_region asks of a mappable thing, as in mapping.cpp.
struct Descriptor {
  int fd;
  bip::mode_t mode;
  [[nodiscard]] bip::mapping_handle_t get_mapping_handle() const noexcept { return bip::ipcdetail::mapping_handle_from_file_handle(fd); }
  [[nodiscard]] bip::mode_t get_mode() const noexcept { return mode; }
};

File& header_file() {
  static File file(sizeof(protocol::SegmentHeader));
  return file;
}
File& bell_file() {
  static File file(sizeof(protocol::BellFile));
  return file;
}
File& bells_file() {
  static File file(protocol::kBellsFileSize);
  return file;
}

}  // namespace

protocol::HeaderPage page_of(const Stream& stream, Role role, unsigned index, std::uint64_t size) {
  protocol::HeaderPage page{};
  page.magic = protocol::kMagic;
  page.layout_version = protocol::kLayoutVersion;
  page.min_reader_version = protocol::kMinReaderVersion;
  page.kind = static_cast<std::uint16_t>(protocol::Kind::stream);
  page.header_length = protocol::kPageSize;
  page.generation = kGeneration;
  page.granule = protocol::kGranule;
  page.alignment = stream.alignment;
  page.capacity = stream.capacity;
  page.lane_max = protocol::kMaxLanes;
  page.group_max = protocol::kMaxGroups;
  page.role = static_cast<std::uint16_t>(role);
  page.index = static_cast<std::uint16_t>(index);
  page.file_size = size;
  page.data_offset = protocol::kPageSize;
  return page;
}

const ConnectOptions& Client::how() {
  static const ConnectOptions options = [] {
    ConnectOptions made;
    made.start_broker = false;
    return made;
  }();
  return options;
}

const std::shared_ptr<Session>& Client::session() {
  static const std::shared_ptr<Session> session = [] {
    std::shared_ptr<Session> made(new Session(how(), BrokerAddress{directory() + "/none.sock", {}, false}));
    made->bells_.store(&bells_file().as<protocol::BellsFile>());
    made->slot_.store(kSlot);
    made->slot_generation_.store(kSlotGeneration);
    return made;
  }();
  return session;
}

protocol::SegmentHeader& Client::header() noexcept { return header_file().as<protocol::SegmentHeader>(); }
protocol::BellFile& Client::bell() noexcept { return bell_file().as<protocol::BellFile>(); }
protocol::BellsFile& Client::bells() noexcept { return bells_file().as<protocol::BellsFile>(); }

Client::Client(const Stream& stream, File& lane, File& group) : stream_(stream), lane_(lane), group_(group) {
  header_file().clear();
  bell_file().clear();
  protocol::SegmentHeader& words = header();
  words.page = page_of(stream, Role::header, 0, sizeof words);
  words.active_lanes.raw = 1;
  words.active_groups.raw = 1;
  words.state.raw = static_cast<std::uint32_t>(protocol::SegmentState::live);
  words.changes.raw = 1;
  words.when_full.raw = static_cast<std::uint32_t>(stream.when_full);
  bell().page = page_of(stream, Role::bell, 0, sizeof(protocol::BellFile));
}

bool Client::takes(File& file, Role role) const {
  const auto refused = protocol::check_header_page(
      {file.data(), protocol::kPageSize},
      {.role = role, .kind = protocol::Kind::stream, .index = 0, .generation = kGeneration, .uuid = {}, .file_size = file.size(), .segment = "s"}, file.size());
  if (refused) require_known(refused->code);
  const auto& page = file.as<protocol::HeaderPage>();
  return !refused && page.capacity == stream_.capacity && page.alignment == stream_.alignment;
}

AttachedFile Client::map(File& file, Role role, bool writable) {
  holes_.push_back(std::make_unique<Hole>(file.size()));
  AttachedFile attached;
  attached.role = role;
  const bip::mode_t mode = writable ? bip::read_write : bip::read_only;
  attached.mapping.region() = bip::mapped_region(Descriptor{file.fd(), mode}, mode, 0, file.size(), holes_.back()->address());
  if (role == Role::lane) {
    attached.incarnation = 1;
    lanes_.emplace_back(attached.mapping.data(), file.size());
  }
  if (role == Role::group) attached.incarnation = 1;
  return attached;
}

Attached Client::attach(As as) {
  Attached attached;
  attached.session = session();
  attached.how = how();
  attached.attachment = std::make_shared<Attachment>();
  attached.attachment->name = "s";
  attached.attachment->group = "g";
  attached.manifest.name = "s";
  attached.manifest.generation = kGeneration;
  attached.manifest.capacity = stream_.capacity;
  attached.manifest.alignment = stream_.alignment;
  attached.manifest.when_full = stream_.when_full;
  attached.files.push_back(map(header_file(), Role::header, false));
  attached.files.push_back(map(bell_file(), Role::bell, true));
  attached.files.push_back(map(lane_, Role::lane, as == As::producer));
  if (as == As::producer) attached.lane = 0;
  if (as != As::observer) attached.files.push_back(map(group_, Role::group, as == As::member));
  return attached;
}

bool Client::in_lane(const void* data, std::uint64_t length) const noexcept {
  for (const auto& lane : lanes_) {
    const auto* at = static_cast<const std::byte*>(data);
    const std::byte* ring = lane.data() + protocol::kPageSize;
    const std::byte* end = lane.data() + lane.size();
    if (at >= ring && at <= end && length <= static_cast<std::uint64_t>(end - at)) return true;
  }
  return false;
}

}  // namespace atoll_fuzz
