"""The projector folder: TensorBoard's own plugin reads it."""

import io

import numpy as np
import pytest
from PIL import Image

from ngu.analysis.report.projector import replacing_folder, write_projector


@pytest.fixture
def folder(tmp_path, data, make_data):
    with replacing_folder(tmp_path / "projector") as folder:
        other = make_data(seed=1, dim=4)
        write_projector(folder, [("one", data), ('"two"', other)], np.random.default_rng(0))
    return tmp_path / "projector"


def test_tensorboard_reads_it(folder, data):
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    apps = ProjectorPlugin(TBContext(logdir=str(folder))).get_plugin_apps()

    def get(route, **query):
        response = Client(apps[route]).get("/", query_string={"run": ".", **query})
        assert response.status_code == 200, response.data
        return response

    assert get("/runs").json == ["."]
    embeddings = {entry["tensorName"]: entry for entry in get("/info").json["embeddings"]}
    assert embeddings.keys() == {"one", '"two"'}
    assert embeddings["one"]["tensorShape"] == [480, 6]
    vectors = np.frombuffer(get("/tensor", name="one").data, np.float32).reshape(480, 6)
    np.testing.assert_allclose(vectors, data.embeddings, rtol=1e-5)
    lines = get("/metadata", name="one").data.decode().splitlines()
    assert lines[0].split("\t") == ["row", "episode", "step", "room", "x", "y"]
    assert lines[1 + 57].split("\t")[:4] == ["57", "1", "17", str(data.labels["room"][57])]
    sprite = np.asarray(Image.open(io.BytesIO(get("/sprite_image", name="one").data)))
    width, height = embeddings["one"]["sprite"]["singleImageDim"]
    across = sprite.shape[1] // width
    top, left = 57 // across * height, 57 % across * width
    assert sprite.shape[1] == across * width
    np.testing.assert_array_equal(
        sprite[top : top + height, left : left + width, :1], data.frames[57]
    )


def test_nothing_of_somebody_else_is_replaced(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(FileExistsError, match="no projector folder"):
        replacing_folder(tmp_path / "mine").__enter__()
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


def test_what_was_there_stays_where_writing_fails(folder):
    before = sorted(path.name for path in folder.iterdir())

    def fail():
        with replacing_folder(folder) as new:
            (new / "tensors.tsv").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert sorted(path.name for path in folder.iterdir()) == before
    assert [path.name for path in folder.parent.iterdir()] == ["projector"]
