#include "bytes_engine.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "atoll/protocol/fence.hpp"
#include "atoll/protocol/kill_point.hpp"
#include "atoll/protocol/repair.hpp"
#include "copy_bytes.hpp"
#include "shared_lock.hpp"

namespace atoll_ipc {

using protocol::BytesHeader;

BytesEngine::BytesEngine(Attached attached, MapMode mode) : attached_(std::move(attached)), mode_(mode) {}

Result<std::unique_ptr<BytesEngine>> BytesEngine::open(const std::shared_ptr<Session>& session, const ConnectOptions& how, const std::string& name, MapMode mode,
                                                       Deadline wait) {
  AttachRequest request;
  request.name = name;
  request.role = "map";
  request.kind = protocol::Kind::bytes;
  request.writable = mode == MapMode::write;
  request.data_access = mode == MapMode::write ? Access::write : mode == MapMode::copy ? Access::private_copy : Access::read;
  request.wait = wait;
  auto attached = attach(session, how, request);
  if (!attached) return tl::unexpected(attached.error());
  std::unique_ptr<BytesEngine> engine(new BytesEngine(std::move(*attached), mode));
  if (auto adopted = engine->adopt(); !adopted) return tl::unexpected(adopted.error());
  return engine;
}

Result<void> BytesEngine::adopt() {
  interruptible_ = attached_.how.interruptible;
  process_ = &process_page();
  identity_ = attached_.session->identity();
  auto data = attached_.take(protocol::Role::data);
  auto bell = attached_.take(protocol::Role::bell);
  if (!data) return tl::unexpected(data.error());
  if (!bell) return tl::unexpected(bell.error());
  mapping_ = std::move(*data);
  bell_mapping_ = std::move(*bell);
  bell_ = bell_mapping_.as<protocol::BellFile>();
  if (mode_ == MapMode::copy) {
    protocol::UniqueFd again(::fcntl(mapping_.fd(), F_DUPFD_CLOEXEC, 0));
    if (!again) return fail(Errc::no_descriptors, std::string("a second descriptor: ") + std::strerror(errno), attached_.manifest.name);
    auto shared = Mapping::map(std::move(again), mapping_.size(), Access::read, false, false, attached_.manifest.name);
    if (!shared) return tl::unexpected(shared.error());
    shared_mapping_ = std::move(*shared);
    shared_ = shared_mapping_.as<const BytesHeader>();
  } else {
    shared_ = mapping_.as<const BytesHeader>();
  }
  size_ = attached_.manifest.size;
  put_size_ = shared_->put_size;
  staging_ = shared_->staging_offset;
  if (put_size_ != attached_.manifest.put_size ||
      (put_size_ != 0 && (staging_ < protocol::kPageSize + size_ || staging_ > mapping_.size() || mapping_.size() - staging_ < put_size_)))
    return fail(Errc::bad_header, "the data file of '" + attached_.manifest.name + "' has another staging area than its manifest says", attached_.manifest.name);
  return {};
}

BytesEngine::~BytesEngine() {
  if (process_ == nullptr || foreign()) return;
  if (notice_.wanted()) attached_.session->notifier().remove(notice_);
  attached_.session->detach(attached_.how, attached_.attachment);
}

Result<void> BytesEngine::check_range(std::uint64_t offset, std::uint64_t length, const char* what) const {
  if (foreign()) return fail(Errc::forked);
  if (offset > size_ || length > size_ - offset)
    return fail(Errc::invalid_argument, std::string(what) + " of " + std::to_string(length) + " bytes at offset " + std::to_string(offset) + " leaves '" +
                                            attached_.manifest.name + "', which has " + std::to_string(size_) + " bytes", attached_.manifest.name, size_,
                "stay inside the segment's size");
  return {};
}

Result<void> BytesEngine::read_at(std::uint64_t offset, std::span<std::byte> into) const {
  if (auto inside = check_range(offset, into.size(), "a read"); !inside) return inside;
  copy_bytes(into.data(), mapping_.data() + protocol::kPageSize + offset, into.size());
  return {};
}

Result<void> BytesEngine::write_at(std::uint64_t offset, std::span<const std::byte> data) {
  if (auto inside = check_range(offset, data.size(), "a write"); !inside) return inside;
  if (mode_ == MapMode::read)
    return fail(Errc::not_permitted, "'" + attached_.manifest.name + "' was opened for reading", attached_.manifest.name, 0, "open it for writing");
  copy_bytes(mapping_.data() + protocol::kPageSize + offset, data.data(), data.size());
  return {};
}

Result<void> BytesEngine::flush(std::uint64_t offset, std::uint64_t length, bool wait) {
  if (length == 0 && offset <= size_) length = size_ - offset;
  if (auto inside = check_range(offset, length, "a flush"); !inside) return inside;
  if (mode_ != MapMode::write) return {};
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t begin = (protocol::kPageSize + offset) / page * page;
  if (::msync(mapping_.data() + begin, protocol::kPageSize + offset + length - begin, wait ? MS_SYNC : MS_ASYNC) != 0)
    return fail(errno == ENOSPC || errno == EDQUOT ? Errc::no_space : Errc::system_error,
                "writing '" + attached_.manifest.name + "' back: " + std::strerror(errno), attached_.manifest.name);
  return {};
}

Result<void> BytesEngine::put(std::span<const std::byte> data, Deadline deadline) {
  const std::string& name = attached_.manifest.name;
  if (foreign()) return fail(Errc::forked);
  if (mode_ != MapMode::write) return fail(Errc::not_permitted, "'" + name + "' was not opened for writing", name, 0, "open it for writing to put");
  if (data.size() > put_size_)
    return fail(Errc::too_large, "a put of " + std::to_string(data.size()) + " bytes into '" + name + "', which takes puts of up to " + std::to_string(put_size_),
                name, put_size_, "put less, or create the segment with a larger size or put_size");
  if (shared().state.load_acquire() != static_cast<std::uint32_t>(protocol::SegmentState::live) || attached_.attachment->lost.load())
    return fail(Errc::removed, "'" + name + "' was removed", name);
  auto& header = *mapping_.as<BytesHeader>();
  Session& session = *attached_.session;
  const std::uint64_t length = data.size();
  {
    SharedLock lock(session, header.lock, attached_.manifest.generation);
    const Errc taken = lock.take(deadline, interruptible_, [&] { static_cast<void>(protocol::repair_bytes(header, size_, put_size_, staging_)); });
    if (taken != Errc::ok) return fail(taken, "another put holds the lock of '" + name + "'", name);
    copy_bytes(mapping_.data() + staging_, data.data(), length);
    ATOLL_KILL_POINT("put.staged");
    protocol::Redo& redo = header.redo;
    const std::uint64_t version = header.version.load_relaxed() + 1;
    redo.copy_length = length;
    redo.entries[0] = {offsetof(BytesHeader, length), length};
    redo.entries[1] = {offsetof(BytesHeader, version), version};
    // Dies before: the old content stays. After: the broker completes the new one.
    redo.count.store_release(2);
    ATOLL_KILL_POINT("put.valid");
    const std::uint64_t changing = header.change.load_relaxed() | 1;  // odd, whatever somebody left there
    header.change.store_relaxed(changing);
    protocol::release_fence();
    ATOLL_KILL_POINT("put.odd");
    copy_bytes(mapping_.data() + protocol::kPageSize, data.data(), length);
    ATOLL_KILL_POINT("put.copied");
    header.length.store_relaxed(length);
    header.version.store_relaxed(version);
    ATOLL_KILL_POINT("put.counted");
    redo.count.store_release(0);
    ATOLL_KILL_POINT("put.redo_done");
    header.change.store_release(changing + 1);
    ATOLL_KILL_POINT("put.even");
  }
  ring(bell_->data, session.bells(), !registered_for_membarrier(*process_));
  return {};
}

Result<BytesEngine::Got> BytesEngine::get(std::span<std::byte> into, std::uint64_t after, Deadline deadline) {
  const std::string& name = attached_.manifest.name;
  if (foreign()) return fail(Errc::forked);
  Clock clock(deadline);
  Session& session = *attached_.session;
  const BytesHeader& header = shared();
  // What is shared, also when this handle's own view is a private copy.
  const std::byte* content = reinterpret_cast<const std::byte*>(shared_) + protocol::kPageSize;
  const auto there = [&] { return (header.change.load_acquire() & 1) == 0 && header.version.load_relaxed() > after; };
  const auto gone = [&] { return header.state.load_acquire() != static_cast<std::uint32_t>(protocol::SegmentState::live) || attached_.attachment->lost.load(); };
  for (;;) {
    const std::uint64_t change = header.change.load_acquire();
    if ((change & 1) == 0) {
      Got got{header.length.load_relaxed(), header.version.load_relaxed()};
      const bool fits = got.length <= into.size();
      const bool sane = got.length <= size_;
      if (got.version > after && fits && sane) copy_bytes(into.data(), content, static_cast<std::size_t>(got.length));
      protocol::acquire_fence();
      if (header.change.load_relaxed() == change) {
        if (!sane) return fail(Errc::bad_header, "'" + name + "' says its content has " + std::to_string(got.length) + " bytes, more than its size", name, got.length);
        if (got.version > after) {
          if (!fits) return fail(Errc::too_large, "the content of '" + name + "' has " + std::to_string(got.length) + " bytes, the buffer " + std::to_string(into.size()), name, got.length, "give a larger buffer");
          return got;
        }
      } else {
        continue;  // a put came between
      }
    }
    if (gone()) return fail(Errc::removed, "'" + name + "' was removed", name);
    const auto ready = [&] { return there() || gone(); };
    if (clock.left() == 0) {
      if ((header.change.load_acquire() & 1) != 0 && sleeper_.spin(ready)) continue;
      if (!notice_.wanted()) return fail(Errc::timed_out);
      session.notifier().arm(notice_);
      static_cast<void>(Sleeper::arm(session, bell_->data));
      if (!ready()) return fail(Errc::timed_out);
      session.notifier().tell(notice_);
      continue;
    }
    if (sleeper_.spin(ready)) continue;
    if (sleeper_.sleep(session, bell_->data, clock, interruptible_, ready) == Woken::interrupted) return fail(Errc::interrupted);
  }
}

Result<int> BytesEngine::event_fd() {
  if (foreign()) return fail(Errc::forked);
  return attached_.session->notifier().event_fd(notice_);
}

Result<void> BytesEngine::set_notify(void (*notify)(void*), void* context) {
  if (foreign()) return fail(Errc::forked);
  return attached_.session->notifier().set_callback(notice_, notify, context);
}

Result<BytesInfo> BytesEngine::info() const {
  if (foreign()) return fail(Errc::forked);
  return BytesInfo{size_, put_size_, shared().length.load_acquire(), shared().version.load_relaxed(), mode_};
}

}  // namespace atoll_ipc
