/* Take eight positions into account (or fewer): eight of everything, one a SIMD lane. */
PROX_INLINE void prox_look_at(const double *y, const double *w, int count, double totals[5][8])
{
    for (int j = 0; j < count; j++) {
        double weight = w ? w[j] : 1.0;
        totals[0][j] = y[j] < totals[0][j] ? y[j] : totals[0][j];
        totals[1][j] = y[j] > totals[1][j] ? y[j] : totals[1][j];
        totals[2][j] = weight < totals[2][j] ? weight : totals[2][j];
        totals[3][j] += y[j] * weight; /* a NaN or an infinity anywhere stays in the sum */
        totals[4][j] += weight;
    }
}

/* Look at the whole input once, before anything is written. */
static int prox_look(prox_problem *p)
{
    double totals[5][8];
    for (int j = 0; j < 8; j++) {
        totals[0][j] = INFINITY;
        totals[1][j] = -INFINITY;
        totals[2][j] = INFINITY;
        totals[3][j] = totals[4][j] = 0;
    }
    int64_t i = 0;
    if (p->w)
        for (; i + 8 <= p->n; i += 8) prox_look_at(p->y + i, p->w + i, 8, totals);
    else
        for (; i + 8 <= p->n; i += 8) prox_look_at(p->y + i, NULL, 8, totals);
    prox_look_at(p->y + i, p->w ? p->w + i : NULL, (int)(p->n - i), totals);
    double lightest = INFINITY;
    p->low = INFINITY;
    p->high = -INFINITY;
    for (int j = 0; j < 8; j++) {
        p->low = totals[0][j] < p->low ? totals[0][j] : p->low;
        p->high = totals[1][j] > p->high ? totals[1][j] : p->high;
        lightest = totals[2][j] < lightest ? totals[2][j] : lightest;
        p->sum += totals[3][j];
        p->weight += totals[4][j];
    }
    if (!(lightest > 0) || !isfinite(p->weight)) return PROX_BAD_WEIGHT;
    return isfinite(p->low) && isfinite(p->high) && isfinite(p->sum) ? PROX_OK : PROX_NOT_FINITE;
}

static int prox_all(prox_problem *p)
{
    int status = PROX_OK;
    const int64_t none = INT64_MAX, *known = &none;
#ifdef PROX_SPAN
    prox_lane_knots *knots = NULL;
    if (p->n > PROX_SPAN && prox_is_rough(p->y, p->n)) knots = malloc(sizeof *knots);
    int64_t patience = PROX_SPAN, pulled;
    while (knots && !status && p->n - p->knot.at > PROX_SPAN) {
        status = prox_lanes(p, knots, &pulled);
        patience = 2 * pulled > PROX_SPAN ? 2 * patience : PROX_SPAN;
        if (2 * pulled > PROX_SPAN && !status && p->knot.at < p->n) /* lanes do not pay here */
            status = prox_pull(p, p->knot.at + patience, &known);
    }
    free(knots);
#endif
    if (!status && p->knot.at < p->n)
        status = prox_pull(p, INT64_MAX, &known);
    return status;
}

/* y, w (or NULL), x: n values; x may be y. Gives a status; x is untouched by bad input. */
int tuner_prox_tv1d_f64(const double *y, const double *w, double *x, int64_t n, double lam)
{
    prox_problem p = {.y = y, .w = w, .x = x, .n = n, .lam = lam};
    if (n <= 0) return PROX_OK;
    int status = prox_look(&p);
    if (status) return status;
    if (lam == 0) {
        memmove(x, y, (size_t)n * sizeof *x);
        return PROX_OK;
    }
    if (lam >= p.sum - p.low * p.weight) { /* no running sum leaves the tube */
        prox_fill(&p, 0, n, p.sum / p.weight);
        return PROX_OK;
    }
    p.ceiling.capacity = p.floor.capacity = n < 1024 ? n + 1 : 1024;
    p.ceiling.queue = malloc((size_t)p.ceiling.capacity * sizeof(prox_segment));
    p.floor.queue = malloc((size_t)p.floor.capacity * sizeof(prox_segment));
    status = p.ceiling.queue && p.floor.queue ? prox_all(&p) : PROX_NO_MEMORY;
    free(p.ceiling.queue);
    free(p.floor.queue);
    return status;
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
