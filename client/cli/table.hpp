// Tables: on a terminal cut to its width, elsewhere plain and whole, for awk and grep.
//
// A column that is `elastic` is shortened with an ellipsis when the lines are too long, the widest
// first. An empty cell is printed as "-", so that every line has the same number of words.
#pragma once

#include <string>
#include <vector>

#include "output.hpp"
#include "text.hpp"

namespace atoll_ipc::cli {

struct Column {
  std::string title;
  bool right = false;  // numbers
  bool elastic = false;
  Cut cut = Cut::end;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // As many cells as there are columns.
  void add(std::vector<std::string> cells);
  void print(Output& out) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "name  value" lines, values aligned; long values are cut on a terminal.
class Facts {
 public:
  void add(std::string name, std::string value, Cut cut = Cut::end) { lines_.push_back({std::move(name), std::move(value), cut}); }
  void print(Output& out) const;

 private:
  struct Line {
    std::string name, value;
    Cut cut;
  };
  std::vector<Line> lines_;
};

}  // namespace atoll_ipc::cli
