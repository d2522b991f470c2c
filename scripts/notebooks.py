"""Write notebooks/*.ipynb anew from the Python files beside them, without outputs.

python scripts/notebooks.py      # needs jupytext

GitHub and Jupyter show the .ipynb with its formulas; the .py is what is edited, reviewed and tested.
"""

import pathlib

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"


def main() -> None:
    import jupytext
    import nbformat

    for source in sorted(FOLDER.glob("*.py")):
        notebook = jupytext.read(source)
        for index, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{index}"  # by default random, so that every writing would differ
        notebook.metadata.pop("jupytext", None)
        nbformat.write(notebook, source.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
