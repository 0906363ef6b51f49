"""The page of a run and that of a comparison: one file each that opens from a disk, with pictures to turn.

Plotly draws: hover, touch and a legend that toggles come with it, and its one file of JavaScript lies in its
package, so that nothing is built or fetched. It is in the page deflated, 2.2 MB instead of 4.8.

document.py      the page around its sections, and what is in all of them
charts.py        lines, bands and axes as Plotly takes them
of_run.py        a run: listening.py has its sections on weights, answers.py on classes and images
of_comparison.py a comparison: cells.py has its tables, standing.py differences, costs, published numbers
page.css page.js how it looks, and what happens when something is pressed
"""
