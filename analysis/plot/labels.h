// Puts labels beside points so that none covers another, a point, or the edge of the picture.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "analysis/plot/canvas.h"
#include "analysis/plot/scale.h"

namespace aqlm_exp::plot {

struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
};
bool overlap(const Box& a, const Box& b);

struct LabelRequest {
  Point point;
  std::string text = {};
};
struct PlacedLabel {
  Point baseline;  ///< where the text starts
  Box box;
  bool leader = false;  ///< far enough away to need a line to its point
};

/// One answer a request, in order; the earlier a request, the better its place. Nothing where no free place is near.
/// @param obstacles kept clear of labels: markers, lines cut into boxes
std::vector<std::optional<PlacedLabel>> place_labels(const std::vector<LabelRequest>& requests,
                                                     const std::vector<Box>& obstacles, const Frame& frame,
                                                     double font_px);

}  // namespace aqlm_exp::plot
