// A client of a stream whose files are a target's: what Attach would have brought, without a broker.
//
// Used by the targets of hostile files. The session is a real one that has lost its broker, so that calls end with
// no_broker and established traffic goes on. Mappings lie between guard pages, so that a look past them is a crash.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <memory>

#include "atoll/protocol/bell.hpp"
#include "attached.hpp"
#include "harness.hpp"

namespace atoll_fuzz {

inline constexpr std::uint64_t kGeneration = 7;
inline constexpr unsigned kSlot = 5;
inline constexpr std::uint32_t kSlotGeneration = 11;

struct Stream {
  std::uint64_t capacity = 4096;
  std::uint32_t alignment = 16;
  atoll_ipc::protocol::WhenFull when_full = atoll_ipc::protocol::WhenFull::block;
};

// The header page that the broker made for a file of the stream.
atoll_ipc::protocol::HeaderPage page_of(const Stream& stream, atoll_ipc::protocol::Role role, unsigned index, std::uint64_t size);

// A process with a stream's files. One at a time; what is attached must be gone before it.
class Client {
 public:
  // `lane` holds the page and `stream.capacity` bytes; the header says that lane 0 and group 0 are active.
  Client(const Stream& stream, File& lane, File& group);

  // As adopt() in attached.cpp does. Empty if a file's header page is refused, which the caller has made sure is known.
  enum class As { producer, member, observer };
  [[nodiscard]] bool takes(File& file, atoll_ipc::protocol::Role role) const;
  [[nodiscard]] atoll_ipc::Attached attach(As as);
  // Where views may lie.
  [[nodiscard]] bool in_lane(const void* data, std::uint64_t length) const noexcept;

  [[nodiscard]] atoll_ipc::protocol::SegmentHeader& header() noexcept;
  [[nodiscard]] atoll_ipc::protocol::BellFile& bell() noexcept;
  [[nodiscard]] static atoll_ipc::protocol::BellsFile& bells() noexcept;
  [[nodiscard]] static const std::shared_ptr<atoll_ipc::Session>& session();
  [[nodiscard]] static const atoll_ipc::ConnectOptions& how();  // starts no broker

 private:
  [[nodiscard]] atoll_ipc::AttachedFile map(File& file, atoll_ipc::protocol::Role role, bool writable);

  const Stream stream_;
  File& lane_;
  File& group_;
  std::vector<std::unique_ptr<Hole>> holes_;
  std::vector<std::span<const std::byte>> lanes_;
};

}  // namespace atoll_fuzz
