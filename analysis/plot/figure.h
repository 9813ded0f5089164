// A picture together with what stands for it where it cannot be seen: a sentence and the numbers behind it.
#pragma once

#include <string>
#include <vector>

namespace aqlm_exp::plot {

/// The numbers behind a picture. Cells are texts ready to be shown, not yet escaped for any format.
struct DataTable {
  struct Column {
    std::string title;
    bool number = false;  ///< align right
  };
  std::vector<Column> columns = {};
  std::vector<std::vector<std::string>> rows = {};
};

struct Figure {
  std::string id = {};       ///< [a-z0-9-]+, unique in a report: file name and anchor
  std::string title = {};    ///< what is drawn, in a few words
  std::string caption = {};  ///< how to read it and what it shows; also the picture's text alternative
  std::string svg = {};      ///< one <svg> element; its colours come from style()
  DataTable data = {};
  double width = 0, height = 0;  ///< in user units
};

}  // namespace aqlm_exp::plot
