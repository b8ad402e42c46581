//! Plots of invented points.

use super::*;

use super::axes::label;

const X: Axis<'_> = TIME;
const Y: Axis<'_> = LATENCY;

#[test]
fn no_colour_is_left_that_the_page_does_not_know() {
    let line = Line {
        colour: 3,
        points: vec![(0.0, 10.0), (1.0, 1_000.0), (2.0, 0.0)],
        faint: false,
    };
    let Drawings { wide, narrow } = lines(X, Y, &[line]).unwrap().unwrap();
    for svg in [&wide, &narrow] {
        assert!(
            svg.contains("var(--s3)") && svg.contains("var(--grid)") && !svg.contains("=\"#"),
            "{svg}"
        );
        assert!(svg.contains("1 ms") && svg.contains("10 µs"), "{svg}");
    }
    assert!(wide.contains("width=\"900\"") && narrow.contains("width=\"420\""));
}

#[test]
fn nothing_is_drawn_of_nothing() {
    assert_eq!(lines(X, Y, &[]).unwrap(), None);
    let below = Line {
        points: vec![(0.0, 0.0)],
        ..Line::default()
    };
    assert_eq!(lines(X, Y, &[below]).unwrap(), None);
    assert_eq!(whiskers("x", &[], &[]).unwrap(), None);
    assert_eq!(marks(X, Y, &[], 0.0).unwrap(), None);
}

#[test]
fn labels_of_scales() {
    let labels = [0.0, 1.0, 2.0, 3.0, 4.0].map(|value| label(PERCENTILES, value));
    assert_eq!(labels, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    let labels = [0.0, 0.2, 0.25, 1.2, 5.0, 40.0, 1_500.0, 25e6].map(|value| label(TIME, value));
    assert_eq!(labels, ["0", "0.2", "0.25", "1.2", "5", "40", "1.5 k", "25 M"]);
    let labels = [-2.0, 0.0, 2.0, 3.0, 6.0, 7.0].map(|value| decade(Unit::Microseconds, value));
    assert_eq!(labels, ["0.01 µs", "1 µs", "100 µs", "1 ms", "1 s", "10 s"]);
    let labels = [0.0, 3.0, 6.0].map(|value| decade(Unit::Number, value));
    assert_eq!(labels, ["1", "1 k", "1 M"]);
}

#[test]
fn an_invalid_point_is_hollow() {
    let mark = |valid| Mark {
        colour: 0,
        x: 10.0,
        y: 5.0,
        valid,
    };
    let solid = marks(X, Y, &[mark(true)], 3.0).unwrap().unwrap().wide;
    let hollow = marks(X, Y, &[mark(false)], 3.0).unwrap().unwrap().wide;
    let circle = |svg: &str| {
        svg.lines()
            .find(|line| line.contains("<circle"))
            .unwrap()
            .to_owned()
    };
    assert!(solid.contains("objective"), "{solid}");
    assert!(circle(&hollow).contains("fill=\"none\"") && !circle(&solid).contains("fill=\"none\""));
}
