1254219121@20/00-02001-66DD1CA4@F@joe@four.example@default@default@abuse@fbl.example@node a
