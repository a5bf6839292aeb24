"""Attributions in words, read as a page: see `golden/explanations.txt`."""

from alerts.explaining import Part, explanation_text

FR, DE = {"platform": "ios", "country": "FR"}, {"platform": "android", "country": "DE"}


def test_explanations_read_as_they_should(golden):
    android = Part({"platform": "android", "country": "FR"}, 0.06)
    small = Part({"plan": "free"}, 0.04)
    many = [Part({"source": f"s{n}"}, 0.2 - n / 100) for n in range(6)]
    lines = [
        explanation_text("plays", -120, 1000, [Part(FR, 0.83)], [android, small]),
        explanation_text("plays", -120, 1000, [Part(FR, 0.5), Part(DE, 0.41)], []),
        explanation_text("plays", 2500, 1000, [Part({"platform": "ios"}, 1.04)], many),
        explanation_text("error_rate", 0.03, 0.015, [Part(FR, 0.95)], []),
        explanation_text("skip_rate", 0.01, 0.3, [Part({"artist_id": "a-1", "plan": "free"}, 0.7)], []),
        explanation_text("error_rate", 0.03, 0.0, [Part(FR, 0.95)], []),
        explanation_text("plays", -120, 400, [Part(FR, 0.96)], [], {"platform": "ios"}),
        explanation_text("plays", -300, 1000, [], []),
    ]  # fmt: skip
    golden("explanations.txt", "\n".join(lines) + "\n")
