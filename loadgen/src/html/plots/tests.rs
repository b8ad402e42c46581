//! Plots of made-up points.

use super::*;

const X: Axis<'_> = Axis {
    title: "time, s",
    scale: Scale::Even,
};
const Y: Axis<'_> = Axis {
    title: "latency, µs",
    scale: Scale::Decades,
};

#[test]
fn no_colour_is_left_that_the_page_does_not_know() {
    let line = Line {
        colour: 3,
        points: vec![(0.0, 10.0), (1.0, 1_000.0), (2.0, 0.0)],
        faint: false,
    };
    let svg = lines(X, Y, &[line]).unwrap().unwrap();
    assert!(
        svg.contains("var(--s3)") && svg.contains("var(--grid)") && !svg.contains("=\"#"),
        "{svg}"
    );
    assert!(svg.contains(">1,000") || svg.contains("1,000\n"), "{svg}");
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
    let labels = [0.0, 1.0, 2.0, 3.0, 4.0].map(|value| label(Scale::Percentiles, value));
    assert_eq!(labels, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    let labels = [0.0, 0.2, 0.25, 1.2, 5.0, 40.0, 1_500.0].map(|value| label(Scale::Even, value));
    assert_eq!(labels, ["0", "0.2", "0.25", "1.2", "5", "40", "1,500"]);
    let labels = [-2.0, 0.0, 2.0, 6.0].map(decade);
    assert_eq!(labels, ["0.01", "1", "100", "1,000,000"]);
}

#[test]
fn an_invalid_point_is_hollow() {
    let mark = |valid| Mark {
        colour: 0,
        x: 10.0,
        y: 5.0,
        valid,
    };
    let solid = marks(X, Y, &[mark(true)], 3.0).unwrap().unwrap();
    let hollow = marks(X, Y, &[mark(false)], 3.0).unwrap().unwrap();
    let circle = |svg: &str| {
        svg.lines()
            .find(|line| line.contains("<circle"))
            .unwrap()
            .to_owned()
    };
    assert!(solid.contains("objective"), "{solid}");
    assert!(circle(&hollow).contains("fill=\"none\"") && !circle(&solid).contains("fill=\"none\""));
}
