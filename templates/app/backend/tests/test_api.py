import pytest

from shop import create_app


@pytest.fixture(autouse=True)
def slept(monkeypatch):
    """Seconds that the app would have slept; no test waits."""
    naps = []
    monkeypatch.setattr("shop.api.time.sleep", naps.append)
    return naps


def test_health_is_ok(client):
    response = client.get("/api/health")
    assert response.status_code == 200
    assert response.json == {"status": "ok"}


def test_hello_has_what_the_page_shows(client):
    data = client.get("/api/hello").json
    assert data["greeting"] == "Hello from Flask"
    assert [product["name"] for product in data["products"]]


def test_the_greeting_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("SHOP_GREETING", "Good evening")
    data = create_app().test_client().get("/api/hello").json
    assert data["greeting"] == "Good evening"


def test_the_proxy_says_who_called_and_how(client):
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    data = client.get("/api/hello", headers=headers).json
    assert data["client"] == "203.0.113.7"
    assert data["url"] == "https://localhost/api/hello"


def test_a_prefix_from_the_proxy_is_part_of_links(client):
    data = client.get("/api/hello", headers={"X-Forwarded-Prefix": "/movies"}).json
    assert data["url"] == "http://localhost/movies/api/hello"


@pytest.mark.parametrize(
    ("query", "seconds"), [("", 2.0), ("?seconds=0.5", 0.5), ("?seconds=30", 30)]
)
def test_slow_answers_after_so_many_seconds(client, slept, query, seconds):
    assert client.get(f"/api/slow{query}").json == {"slept": seconds}
    assert slept == [seconds]


@pytest.mark.parametrize("route", ["slow", "stream"])
@pytest.mark.parametrize("seconds", ["-1", "31", "nan", "inf"])
def test_seconds_out_of_bounds_are_refused(client, route, seconds):
    response = client.get(f"/api/{route}?seconds={seconds}")
    assert response.status_code == 400
    assert "seconds must be" in response.json["error"]


def test_stream_ends_with_done(client, slept):
    response = client.get("/api/stream?seconds=1")
    assert response.text == "line 1\nline 2\nline 3\nline 4\ndone\n"
    assert sum(slept) == 1


def test_stream_is_not_buffered_by_nginx(client):
    response = client.get("/api/stream?seconds=0")
    assert response.headers["X-Accel-Buffering"] == "no"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/api/hello", 405), ("GET", "/api/nothing", 404)]
)
def test_errors_are_json(client, method, path, status):
    response = client.open(path, method=method)
    assert response.status_code == status
    assert response.json["error"]
