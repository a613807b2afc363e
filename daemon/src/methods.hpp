// The methods of dev.atoll.Broker: from a frame to a reply.
//
// handle() parses and bounds the message, finds the method and answers exactly once, with a result or
// with an error that names what was wrong. A method that must wait defers its reply and holds the
// connection. Implementations: methods.cpp (session), methods_segments.cpp, methods_attach.cpp, gc.cpp.
#pragma once

#include <string_view>

#include "arguments.hpp"
#include "broker.hpp"
#include "replies.hpp"

namespace atoll_ipc::daemon {

class Methods {
 public:
  explicit Methods(Broker& broker) : broker_(broker) {}

  void handle(Connection& connection, std::string_view frame);
  // The segment that the connection waits for exists now.
  void wait_over(Connection& connection);
  // The broker stops: the wait is answered with shutting_down.
  void give_up_wait(Connection& connection);

 private:
  using Method = Result<Reply> (Methods::*)(Connection&, Arguments&);
  struct Row {
    const char* name;
    Method method;
  };
  static const Row kMethods[];

  Result<Reply> hello(Connection&, Arguments&);
  Result<Reply> status(Connection&, Arguments&);
  Result<Reply> stop(Connection&, Arguments&);

  Result<Reply> create(Connection&, Arguments&);
  Result<Reply> remove(Connection&, Arguments&);
  Result<Reply> list(Connection&, Arguments&);
  Result<Reply> show(Connection&, Arguments&);
  Result<Reply> manifest(Connection&, Arguments&);
  Result<Reply> gc(Connection&, Arguments&);

  Result<Reply> await(Connection&, Arguments&);
  Result<Reply> attach(Connection&, Arguments&);
  Result<Reply> refresh(Connection&, Arguments&);
  Result<Reply> detach(Connection&, Arguments&);

  Result<Reply> wait_for(Connection& connection, const std::string& name, std::int64_t wait_ms);
  void answer(Connection& connection, Result<Reply> reply, bool oneway);
  Result<Reply> restore(Connection& connection, Slot& slot, const nlohmann::json& attachments, bool known);
  // The segment, if it exists and can be used.
  Result<SegmentPtr> usable(const std::string& name);
  Result<SegmentPtr> existing(const std::string& name);
  Result<std::shared_ptr<Mapping>> give_lane(const SegmentPtr& segment, const Process& who, Attachment& attachment);
  Result<Lane*> add_lane(const SegmentPtr& segment, const Process& who);
  Result<void> give_group(const SegmentPtr& segment, const Process& who, Arguments& options, Attachment& attachment, bool& created, bool may_create);
  bool ends_there(Segment& segment, const protocol::ManifestFile& file, const Failure& failure);
  Result<void> add_fd(Reply& reply, const Segment& segment, const protocol::ManifestFile& file, bool writable);
  void seal_lane(Segment& segment, unsigned lane);

  Broker& broker_;
};

// One line of `atoll ls`.
nlohmann::json describe_segment(Broker& broker, const Segment& segment);

}  // namespace atoll_ipc::daemon
