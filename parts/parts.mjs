// What the explorer takes from others; `parts` in the page.
import "d3-transition"; // d3-zoom moves smoothly with it
export { select } from "d3-selection";
export { zoom, zoomIdentity } from "d3-zoom";
export { default as uPlot } from "uplot";
import "uplot/dist/uPlot.min.css";
