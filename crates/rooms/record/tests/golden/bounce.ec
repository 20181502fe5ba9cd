1254219120@C3/1D-02001-C6DD1CA4@B3/1D-02001-C6DD1CA4@90/00-02002-E6DD1CA4@T@"a\@b"@two.example@news@sender.example@default@outbound-1@0@70@1024@@451 4.7.1 greylisted
1254219120@C3/1D-02001-C6DD1CA4@B3/1D-02001-C6DD1CA4@90/00-02002-E6DD1CA4@B@"a\@b"@two.example@news@sender.example@default@outbound-1@5@10@1024@198.51.100.9@550 5.1.1 no such user see https://two.example/@help
1254219121@20/00-02001-66DD1CA4@B3/1D-02001-C6DD1CA4@10/00-02001-66DD1CA4@B@joe@four.example@first@one.example@default@default@21@10@1024@192.0.2.7@550 5.1.1  no such user, ask @help
1254219121@00/00-00000-00000000@B3/1D-02001-C6DD1CA4@10/00-02001-66DD1CA4@T@joe@four.example@first@one.example@default@default@21@70@1024@192.0.2.7@
