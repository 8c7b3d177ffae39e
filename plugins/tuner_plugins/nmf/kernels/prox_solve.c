static int prox_all(prox_problem *p)
{
    int status = PROX_OK;
    const int64_t none = INT64_MAX, *known = &none;
#ifdef PROX_WIDE
    prox_lane_knots *knots = NULL;
    const int64_t least = PROX_LANES * PROX_LEAST;
    const int rough = p->n > least && prox_is_rough(p->y, p->n);
    if (rough) knots = malloc(sizeof *knots);
    int64_t patience = PROX_LANES * PROX_STRETCH;
    while (knots && !status && p->n - p->knot.at > least) {
        int64_t pulled, stretch = (p->n - 1 - p->knot.at) / PROX_LANES;
        stretch = stretch < PROX_STRETCH ? stretch : PROX_STRETCH;
        status = prox_look(p, p->knot.at + PROX_LANES * stretch + PROX_OVERLAP);
        if (!status) status = prox_lanes(p, knots, stretch, &pulled);
        if (status || p->knot.at == p->n) break;
        if (2 * pulled > PROX_LANES * stretch) { /* lanes do not pay here */
            patience *= 4;
            status = prox_pull_rough(p, p->knot.at + patience, &known);
        } else {
            patience = PROX_LANES * PROX_STRETCH;
        }
    }
    free(knots);
    if (rough && !status && p->knot.at < p->n) status = prox_pull_rough(p, INT64_MAX, &known);
#endif
    if (!status && p->knot.at < p->n)
        status = prox_pull(p, INT64_MAX, &known);
    return status;
}

/* Room for the hulls of p; a short signal never grows it. */
static int prox_reserve(prox_problem *p)
{
    p->ceiling.capacity = p->floor.capacity = p->n < 1024 ? p->n + 1 : 1024;
    p->ceiling.queue = malloc((size_t)p->ceiling.capacity * sizeof(prox_segment));
    p->floor.queue = malloc((size_t)p->floor.capacity * sizeof(prox_segment));
    return p->ceiling.queue && p->floor.queue ? PROX_OK : PROX_NO_MEMORY;
}

static void prox_release(prox_problem *p)
{
    free(p->ceiling.queue);
    free(p->floor.queue);
}

static prox_problem prox_state(const double *y, const double *w, double *x, int64_t n, double lam)
{
    return (prox_problem){.y = y, .w = w, .x = x, .n = n, .lam = lam, .low = INFINITY, .high = -INFINITY};
}

/* y, w (or NULL), x: n values; x may be y. Gives a status; x is undefined after bad input. */
int tuner_prox_tv1d_f64(const double *y, const double *w, double *x, int64_t n, double lam)
{
    prox_problem p = prox_state(y, w, x, n, lam);
    int status = PROX_OK;
    if (n <= 0) return PROX_OK;
    if (lam == 0) {
        memmove(x, y, (size_t)n * sizeof *x);
    } else {
        status = prox_reserve(&p);
        if (!status) status = prox_all(&p);
        prox_release(&p);
    }
    return status ? status : prox_look(&p, n);
}

/* The same in float32, through a copy in float64: sums of float32 would lose whole positions. */
int tuner_prox_tv1d_f32(const float *y, const float *w, float *x, int64_t n, double lam)
{
    if (n <= 0) return PROX_OK;
    double *wide = malloc((size_t)(w ? 2 * n : n) * sizeof *wide);
    if (!wide) return PROX_NO_MEMORY;
    for (int64_t i = 0; i < n; i++) wide[i] = y[i];
    for (int64_t i = 0; w && i < n; i++) wide[n + i] = w[i];
    int status = tuner_prox_tv1d_f64(wide, w ? wide + n : NULL, wide, n, lam);
    for (int64_t i = 0; !status && i < n; i++) x[i] = (float)wide[i];
    free(wide);
    return status;
}
