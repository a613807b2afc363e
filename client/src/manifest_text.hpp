// Spares the JSON parser the long part of an Attach reply: the manifest, and in it the layout.
//
// The parser reads strings byte by byte; a reply that attaches is one string of 11 KiB and little else. What these two
// leave is parsed and checked as ever, and where they find anything that is not plain they leave everything.
#pragma once

#include <string>
#include <string_view>

namespace atoll_ipc {

// Takes the value of the reply's member "manifest" out, leaving "" there. Empty if there is none that it can read.
std::string take_manifest(std::string& reply);

// The manifest's text with 0 in place of its member "layout": that tells readers of other makes what is compiled in here.
std::string without_layout(std::string_view manifest);

}  // namespace atoll_ipc
