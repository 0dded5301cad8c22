import numpy as np
def noisy_beliefs(process, tokens, rates, observed=None):
    return process.beliefs(tokens)
def asked_word_posterior(predictive, shown, rates, n_random_ids):
    n,V=predictive.shape; u=rates.random/n_random_ids
    out=predictive.copy()
    w=np.flatnonzero(shown<V); s=shown[w]; px=predictive[w,s]
    q=u*predictive[w]; q[np.arange(len(w)),s]+=rates.keep*px
    out[w]=q/(rates.keep*px+u)[:,None]
    return out
