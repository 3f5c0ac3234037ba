"""Which files a browser fetches for JupyterLab, read out of the page and its scripts."""

from __future__ import annotations

import json

from hubfleet.loadtest.assets import chunks, page_assets

ADDRESS = "http://hub/user/ada/lab"
SETTINGS = {
    "fullLabextensionsUrl": "/user/ada/lab/extensions",
    "federated_extensions": [{"name": "@some/thing", "load": "static/remoteEntry.abc.js"}],
}
PAGE = f"""<!doctype html><html><head>
<link rel="icon" href="/user/ada/static/favicon.ico"><link rel="stylesheet" href="/user/ada/style.css">
<link rel="canonical" href="/elsewhere"><link rel="icon" href="data:,">
<script id="jupyter-config-data" type="application/json">{json.dumps(SETTINGS)}</script>
<script defer src="/user/ada/static/lab/main.0123456789abcdef.js?v=0123456789abcdef"></script>
</head><body><script>var a = "<b>";</script></body></html>"""

# As JupyterLab 4.6 builds it (rspack), shortened. 5 is no file: it only brings packages in.
MAIN = """
t.e(9);let n=(await Promise.all([t.e(1),t.e(5)]).then(t.bind(t,81220))).main;
u=e=>""+(1===e?"jlab_core":e)+"."+({1:"aaaaaaaaaaaa",2:"bbbbbbbbbbbb",3:"cccccccccccc",4:"dddddddddddd"})[e]+".js?v="+x;
consumesLoadingData={chunkMapping:{5:["71","72"],2:["73"]},moduleIdToConsumeDataMapping:{
71:{shareScope:"default",shareKey:"@a/b",fallback:()=>Promise.all([r.e(1),r.e(2)]).then(()=>()=>r(8)),treeShakingMode:null},
72:{shareScope:"default",shareKey:"c",fallback:void 0,treeShakingMode:null},
73:{shareScope:"default",shareKey:"d",fallback:()=>r.e(3).then(()=>()=>r(9)),treeShakingMode:null}},initialConsumes:[]}
"""
# As federated extensions are built (webpack).
REMOTE = """
var n={"./index":()=>t.e(568).then((()=>()=>t(568))),"./extension":()=>t.e(568).then((()=>()=>t(568))),
"./style":()=>t.e(747).then((()=>()=>t(747)))};
a.u=e=>e+"."+{568:"1e2faa2ba0bb",747:"67662283a570"}[e]+".js?v="+{568:"1e2faa2ba0bb",747:"67662283a570"}[e]
"""


def test_a_page_names_styles_scripts_and_extensions() -> None:
    plain, scripts = page_assets(ADDRESS, PAGE)
    assert plain == ["http://hub/user/ada/static/favicon.ico", "http://hub/user/ada/style.css"]
    assert scripts == [
        "http://hub/user/ada/static/lab/main.0123456789abcdef.js?v=0123456789abcdef",
        "http://hub/user/ada/lab/extensions/@some/thing/static/remoteEntry.abc.js",
    ]


def test_a_page_that_is_not_jupyterlab_names_what_it_names() -> None:
    assert page_assets(ADDRESS, "<p>Please wait</p>") == ([], [])


def test_the_first_chunks_and_what_they_bring_in() -> None:
    found = chunks("http://hub/user/ada/static/lab/main.0123456789abcdef.js?v=1", MAIN)
    folder = "http://hub/user/ada/static/lab"
    assert sorted(found) == [
        f"{folder}/2.bbbbbbbbbbbb.js?v=bbbbbbbbbbbb",
        f"{folder}/3.cccccccccccc.js?v=cccccccccccc",
        f"{folder}/jlab_core.aaaaaaaaaaaa.js?v=aaaaaaaaaaaa",
    ], "4 is asked for later only"


def test_an_extension_brings_its_code_and_its_style() -> None:
    found = chunks("http://hub/x/static/remoteEntry.abc.js", REMOTE)
    assert found == [
        "http://hub/x/static/568.1e2faa2ba0bb.js?v=1e2faa2ba0bb",
        "http://hub/x/static/747.67662283a570.js?v=67662283a570",
    ]


def test_a_script_of_another_make_names_nothing() -> None:
    assert chunks("http://hub/main.js", "console.log('hello')") == []
